"""Write the checkpoints beside this file anew: small GPT-2s of random weights, and their logits.

    python tests/models/data/write_gpt2.py

Needs PyTorch and transformers (written with transformers 5.23.0 and torch 2.13.0).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

HERE = Path(__file__).parent
TOKENS = [[3, 1, 4, 1, 5, 9, 2, 6], [10, 0, 7, 7, 8, 2, 1, 3]]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def random_gpt2() -> GPT2LMHeadModel:
    """Two layers, all of whose parameters matter: biases and norms are random, too."""
    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=2, n_head=2, layer_norm_epsilon=1e-3,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def logits(model: GPT2LMHeadModel) -> np.ndarray:
    """Those of TOKENS, computed in float32 from the weights as they are."""
    with torch.no_grad():
        return model.float()(torch.tensor(TOKENS)).logits.numpy()


if __name__ == "__main__":
    found = {}
    for name, dtype in DTYPES.items():
        model = random_gpt2().to(dtype)
        folder = HERE / f"gpt2_{name}"
        model.save_pretrained(folder)
        for file in folder.iterdir():
            if file.name not in ("config.json", "model.safetensors"):
                file.unlink()
        found[name] = logits(model)
    np.savez(HERE / "gpt2_logits.npz", tokens=TOKENS, **found)
    shutil.rmtree(HERE / "__pycache__", ignore_errors=True)
