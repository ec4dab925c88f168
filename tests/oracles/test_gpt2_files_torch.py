"""GPT-2 checkpoints go from transformers to tinymp and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.models import GPT

torch = pytest.importorskip("torch")
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is looked for outside
transformers = pytest.importorskip(
    "transformers", reason="writes and reads the checkpoints: pip install transformers"
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own

TOKENS = [[3, 1, 4, 1, 5, 9, 2, 6], [10, 0, 7, 7, 8, 2, 1, 3]]
LAYERS, WIDTH = 2, 12
ERROR = (6 * LAYERS + 1) * 4 * WIDTH  # see tests/models/test_gpt2_files.py


def their_logits(model: Any) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        logits: np.ndarray[Any, Any] = model.float().eval()(torch.tensor(TOKENS)).logits.numpy()
    return logits


def assert_same(own: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    bound = ERROR * 2.0**-24 * abs(theirs).max()
    np.testing.assert_allclose(own, theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "GPT2Model"])
def test_what_the_library_saves_opens_here(tmp_path: Path, dtype: str, kind: str) -> None:
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=9, n_embd=WIDTH, n_layer=LAYERS, n_head=3,
        bos_token_id=None, eos_token_id=None, initializer_range=0.4,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).to(getattr(torch, dtype))
    (model if kind == "GPT2LMHeadModel" else model.transformer).save_pretrained(tmp_path)
    own = GPT.from_pretrained(tmp_path)
    assert own.norm.weight.dtype.name == dtype
    assert_same(own.float()(mp.tensor(TOKENS)).numpy(), their_logits(model))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_what_is_saved_here_opens_there(tmp_path: Path, dtype: str) -> None:
    mp.manual_seed(2)
    model = GPT(11, 9, width=WIDTH, layers=LAYERS, heads=3, dropout=0.1, dtype=dtype, eps=1e-4)
    model.eval().save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert theirs.dtype is getattr(torch, dtype)
    assert theirs.config.resid_pdrop == 0.1
    assert_same(model.float()(mp.tensor(TOKENS)).numpy(), their_logits(theirs))


def test_both_write_the_same(tmp_path: Path) -> None:
    mp.manual_seed(3)
    model = GPT(11, 32, width=WIDTH, layers=LAYERS, heads=3)
    with mp.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(20)
    model.save_pretrained(tmp_path)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    written = theirs.generate(
        torch.tensor(TOKENS), max_new_tokens=20, do_sample=False, pad_token_id=0,
        attention_mask=torch.ones(2, 8, dtype=torch.int64),
    )  # fmt: skip
    own = model.generate(mp.tensor(TOKENS), 20, temperature=0)
    np.testing.assert_array_equal(own.numpy(), written.numpy())
