"""GPT-2 checkpoints: the same logits as the library that wrote them, and clear refusals.

`data/gpt2_*` were written by transformers, with `data/write_gpt2.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.data.tensor_file import read_tensors, write_tensors
from tinymp.devices import get_rng_state
from tinymp.models import GPT

DATA = Path(__file__).parent / "data"
DTYPES = ["float32", "float16", "bfloat16"]
LAYERS, WIDTH = 2, 8

# The weights are exact in float32. Both sides then compute six products a block and one at the
# end, one after the other, each with the error of a sum of up to 4·width terms, n·u; no term is
# larger than the largest logit.
ERROR = (6 * LAYERS + 1) * 4 * WIDTH


def logits(name: str) -> tuple[mp.Tensor, np.ndarray[Any, Any]]:
    with np.load(DATA / "gpt2_logits.npz") as stored:
        return mp.tensor(stored["tokens"]), stored[name]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "gpt2_float32", tmp_path / "gpt2"))


def change(folder: Path, function: Callable[[dict[str, mp.Tensor]], dict[str, mp.Tensor]]) -> None:
    file = folder / "model.safetensors"
    write_tensors(file, function(read_tensors(file)[0]), {"format": "pt"})


def configure(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    content = {**json.loads(file.read_text(encoding="utf-8")), **settings}
    file.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("name", DTYPES)
def test_it_gives_the_logits_of_the_library_that_wrote_it(name: str, device: str) -> None:
    model = GPT.from_pretrained(DATA / f"gpt2_{name}", dtype=mp.float32, device=device)
    tokens, expected = logits(name)
    given = model(tokens.to(device)).numpy()
    bound = ERROR * 2.0**-24 * abs(expected).max()
    np.testing.assert_allclose(given, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", DTYPES)
def test_it_keeps_the_format_and_the_bits_of_the_file(name: str) -> None:
    folder = DATA / f"gpt2_{name}"
    model = GPT.from_pretrained(str(folder / "model.safetensors"))
    assert {p.dtype.name for p in model.parameters()} == {name}
    theirs, _ = read_tensors(folder / "model.safetensors")
    contract = theirs["transformer.h.1.mlp.c_proj.weight"].storage.T
    np.testing.assert_array_equal(model.blocks[1].contract.weight.storage, contract)
    tokens, expected = logits(name)
    bound = ERROR * mp.finfo(model.norm.weight.dtype).eps / 2 * abs(expected).max()
    np.testing.assert_allclose(model(tokens).numpy(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", DTYPES)
def test_what_is_saved_is_what_was_loaded(name: str, tmp_path: Path) -> None:
    folder = DATA / f"gpt2_{name}"
    model = GPT.from_pretrained(folder)
    model.save_pretrained(tmp_path / "new" / "folder")
    saved, metadata = read_tensors(tmp_path / "new" / "folder" / "model.safetensors")
    theirs, their_metadata = read_tensors(folder / "model.safetensors")
    assert metadata == their_metadata
    assert saved.keys() == theirs.keys()
    for key, tensor in saved.items():
        assert tensor.dtype is theirs[key].dtype
        np.testing.assert_array_equal(tensor.storage, theirs[key].storage)
    own = json.loads((tmp_path / "new/folder/config.json").read_text(encoding="utf-8"))
    written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    dropout = {key: 0.0 for key in ("attn_pdrop", "embd_pdrop", "resid_pdrop")}
    assert own == {**own, **{key: written[key] for key in own if key in written}, **dropout}
    assert own["torch_dtype"] == name


def test_a_model_of_ones_own_comes_back(tmp_path: Path) -> None:
    mp.manual_seed(1)
    model = GPT(13, 6, width=12, layers=3, heads=3, dropout=0.25, dtype=mp.bfloat16)
    model.save_pretrained(tmp_path)
    state = get_rng_state()
    again = GPT.from_pretrained(tmp_path, dropout=0.25)
    assert get_rng_state() == state, "no random number is used up"
    assert again.dropout.p == 0.25
    for (name, p), (other, q) in zip(
        model.named_parameters(), again.named_parameters(), strict=True
    ):
        assert name == other
        assert p.dtype is q.dtype
        np.testing.assert_array_equal(p.storage, q.storage)
    tokens = mp.tensor([[1, 2, 3]])
    np.testing.assert_array_equal(
        again.generate(tokens, 3, seed=0).numpy(), model.generate(tokens, 3, seed=0).numpy()
    )
    model.save_pretrained(tmp_path)  # replaces its files


def test_without_prefix_with_masks_and_a_tied_head(checkpoint: Path) -> None:
    """As OpenAI's own weights are published."""
    tokens, expected = logits("float32")

    def published(tensors: dict[str, mp.Tensor]) -> dict[str, mp.Tensor]:
        tensors = {name.removeprefix("transformer."): t for name, t in tensors.items()}
        for layer in range(LAYERS):
            tensors[f"h.{layer}.attn.bias"] = mp.ones(1, 1, 8, 8).tril()
            tensors[f"h.{layer}.attn.masked_bias"] = mp.tensor(-1e4)
        return {**tensors, "lm_head.weight": tensors["wte.weight"]}

    change(checkpoint, published)
    (checkpoint / "config.json").write_text(
        '{"n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 11, "n_positions": 8, '
        '"layer_norm_epsilon": 0.001}', encoding="utf-8"
    )  # fmt: skip
    model = GPT.from_pretrained(checkpoint)
    np.testing.assert_allclose(
        model(tokens).numpy(), expected, rtol=0, atol=ERROR * 2.0**-24 * abs(expected).max()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "llama"}, r"says model_type 'llama', but tinymp's GPT computes .* 'gpt2'"),
        ({"activation_function": "relu"}, r"activation_function 'relu', but .* 'gelu_new' or"),
        ({"scale_attn_weights": False}, "scale_attn_weights False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx True"),
        ({"add_cross_attention": True}, "add_cross_attention True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings False"),
        ({"n_inner": 16}, "n_inner 16, but .* four times as wide as the model: 32"),
        ({"n_head": 3}, "width 8 and 3 heads"),
        ({"n_layer": 3}, r"lacks h.2.attn.c_attn.bias, .*, \.\.\.: these are not the weights of"),
        ({"n_layer": 1}, r"has also h.1.attn.c_attn.bias, "),
        ({"vocab_size": 12}, r"token_table.weight: shape \(11, 8\) was given, \(12, 8\) is expec"),
        ({"n_positions": 4}, r"position_table.weight: shape \(8, 8\) was given, \(4, 8\)"),
    ],
)
def test_other_models_are_refused(checkpoint: Path, settings: dict[str, Any], message: str) -> None:
    configure(checkpoint, **settings)
    with pytest.raises(ValueError, match=message):
        GPT.from_pretrained(checkpoint)


def test_an_inner_width_of_four_times_is_the_default(checkpoint: Path) -> None:
    configure(checkpoint, n_inner=32)
    GPT.from_pretrained(checkpoint)


def test_weights_that_do_not_fit_are_refused(checkpoint: Path) -> None:
    change(checkpoint, lambda t: {**t, "lm_head.weight": t["transformer.wte.weight"] * 2})
    with pytest.raises(ValueError, match=r"lm_head.weight that differs .*tied weights"):
        GPT.from_pretrained(checkpoint)
    change(checkpoint, lambda t: {k: v for k, v in t.items() if k != "lm_head.weight"})
    change(checkpoint, lambda t: {**t, "transformer.ln_f.bias": t["transformer.ln_f.bias"].half()})
    with pytest.raises(ValueError, match=r"in float16 and float32; say in which .* dtype=tinymp"):
        GPT.from_pretrained(checkpoint)
    assert GPT.from_pretrained(checkpoint, dtype="float16").norm.bias.dtype is mp.float16
    change(checkpoint, lambda t: {k: v for k, v in t.items() if not k.endswith("wte.weight")})
    with pytest.raises(ValueError, match=r"lacks wte\.weight"):
        GPT.from_pretrained(checkpoint)


def test_missing_and_broken_files_are_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder or file gpt2; nothing is downloaded"):
        GPT.from_pretrained("gpt2")
    weights, config = checkpoint / "model.safetensors", checkpoint / "config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="no complete safetensors file"):
        GPT.from_pretrained(checkpoint)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors: it has none; load it"):
        GPT.from_pretrained(checkpoint)
    for name, reason in (
        ("pytorch_model.bin", "PyTorch's own form, which can run any code"),
        ("model.safetensors.index.json", "spread over several files"),
    ):
        (checkpoint / name).touch()
        with pytest.raises(FileNotFoundError, match=reason):
            GPT.from_pretrained(checkpoint)
    weights.write_bytes(content)
    config.write_text('{"n_layer": ', encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json is no JSON .* restore it"):
        GPT.from_pretrained(checkpoint)
    config.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*config.json; it says how many"):
        GPT.from_pretrained(checkpoint)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file; choose the name of a folder"):
        GPT(11, 8, width=8).save_pretrained(tmp_path / "file")
