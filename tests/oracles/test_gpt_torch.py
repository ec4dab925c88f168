"""A transformer block beside PyTorch's, from the same weights."""

from __future__ import annotations

import numpy as np
import pytest

import tinymp as mp
from tinymp.models.gpt import Block

torch = pytest.importorskip("torch")


def test_a_block_computes_what_pytorch_computes() -> None:
    mp.manual_seed(0)
    block = Block(12, 3, 0.0, mp.float32)
    theirs = torch.nn.TransformerEncoderLayer(
        12, 3, 48, 0.0, lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
        batch_first=True, norm_first=True,
    )  # fmt: skip
    names = {
        "self_attn.in_proj_weight": "attention.query_key_value.weight",
        "self_attn.in_proj_bias": "attention.query_key_value.bias",
        "self_attn.out_proj.weight": "attention.projection.weight",
        "self_attn.out_proj.bias": "attention.projection.bias",
        "linear1.weight": "expand.weight",
        "linear1.bias": "expand.bias",
        "linear2.weight": "contract.weight",
        "linear2.bias": "contract.bias",
        "norm1.weight": "norm_1.weight",
        "norm1.bias": "norm_1.bias",
        "norm2.weight": "norm_2.weight",
        "norm2.bias": "norm_2.bias",
    }
    own = block.state_dict()
    theirs.load_state_dict({k: torch.tensor(own[v].numpy()) for k, v in names.items()})
    x = mp.randn(2, 5, 12)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(5)
    expected = theirs(torch.tensor(x.numpy()), src_mask=mask, is_causal=True).detach().numpy()
    # Five products one after the other, each with the error of a sum of up to 48 terms, n·u; no
    # term is larger than the largest number that comes in or out.
    largest = max(abs(x.numpy()).max(), abs(expected).max())
    np.testing.assert_allclose(block(x).numpy(), expected, rtol=0, atol=5 * 48 * 2.0**-24 * largest)
