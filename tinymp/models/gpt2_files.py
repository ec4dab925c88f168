"""GPT-2 checkpoints as Hugging Face's transformers keeps them: config.json, model.safetensors.

Both sides compute the same; they only name things differently, and store the weights of linear
layers transposed, (in, out) instead of (out, in), because GPT-2's first code wrote x·W.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinymp.autograd import Tensor
from tinymp.data.atomic import write_atomically
from tinymp.data.tensor_file import read_tensors, write_tensors
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.formats import DType
from tinymp.models.gpt import GPT

CONFIG, TENSORS = "config.json", "model.safetensors"

_PREFIX = "transformer."  # files of the bare transformer, without a head, do not have it
_HEAD = "lm_head.weight"  # the table of tokens again, if it is there at all
_MASKS = (".attn.bias", ".attn.masked_bias")  # old files keep the causal mask among the weights

# Each part of a parameter's name, here and there.
_PARTS = {
    "token_table": "wte",
    "position_table": "wpe",
    "blocks": "h",
    "norm_1": "ln_1",
    "attention": "attn",
    "query_key_value": "c_attn",
    "projection": "c_proj",
    "norm_2": "ln_2",
    "expand": "mlp.c_fc",
    "contract": "mlp.c_proj",
    "norm": "ln_f",
}
_TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")

# What holds where a configuration is silent, and what of it this GPT can do.
_DEFAULTS = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "layer_norm_epsilon": 1e-5,
}
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


def load_gpt2(path: Path, dtype: DType | str | None, device: str, dropout: float) -> GPT:
    """See `GPT.from_pretrained`."""
    file = _tensor_file(path)
    settings = _settings(file.with_name(CONFIG))
    tensors, _ = read_tensors(file, lambda name: not name.endswith(_MASKS))
    tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    _check_head(file, tensors)

    random = get_rng_state()
    model = GPT(
        settings["vocab_size"],
        settings["n_positions"],
        settings["n_embd"],
        settings["n_layer"],
        settings["n_head"],
        dropout,
        eps=settings["layer_norm_epsilon"],
    )
    set_rng_state(random)  # the initial values that it drew are not used
    expected = {_their_name(own): own for own, _ in model.named_parameters()}
    given = {
        expected.get(name, name): tensor.t() if name.endswith(_TRANSPOSED) else tensor
        for name, tensor in tensors.items()
    }
    _check_names(file, set(tensors), set(expected))
    model.to(_dtype(file, given) if dtype is None else dtype)
    try:
        model.load_state_dict(given)
    except RuntimeError as error:
        raise ValueError(f"{file} does not fit {CONFIG} beside it: {error}") from None
    return model.to(device)


def save_gpt2(model: GPT, folder: Path) -> None:
    """See `GPT.save_pretrained`."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose the name of a folder for the model")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for own, parameter in model.named_parameters():
        name = _their_name(own)
        tensor = parameter.detach()
        tensors[_PREFIX + name] = tensor.t() if name.endswith(_TRANSPOSED) else tensor
    write_tensors(folder / TENSORS, tensors, {"format": "pt"})
    write_atomically(folder / CONFIG, (json.dumps(_config(model), indent=2) + "\n").encode())


def _their_name(own: str) -> str:
    return ".".join(_PARTS.get(part, part) for part in own.split("."))


def _tensor_file(path: Path) -> Path:
    """The file with the weights: `path` itself, or the one in the folder."""
    if path.is_file():
        return path
    file = path / TENSORS
    if file.is_file():
        return file
    if not path.exists():
        raise FileNotFoundError(
            f"there is no folder or file {path}; nothing is downloaded: name the folder of a "
            f"checkpoint, with {CONFIG} and {TENSORS} in it"
        )
    others = {
        "model.safetensors.index.json": "its weights are spread over several files",
        "pytorch_model.bin": "its weights are in PyTorch's own form, which can run any code",
    }
    reason = next((why for name, why in others.items() if (path / name).exists()), "it has none")
    raise FileNotFoundError(
        f"{path} has no {TENSORS}: {reason}; load it with the library that wrote it, and save it "
        "as one file in the safetensors format"
    )


def _settings(file: Path) -> dict[str, Any]:
    """What config.json says, completed; refused where this GPT computes something else."""
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no {file}; it says how many layers and heads the model has, and belongs "
            f"beside {TENSORS}"
        )
    try:
        written = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON ({error}); restore it from a copy") from None
    for name, supported in _SUPPORTED.items():
        value = written.get(name, supported[0])
        if value not in supported:
            raise ValueError(
                f"{file} says {name} {value!r}, but tinymp's GPT computes {name} "
                f"{' or '.join(map(repr, supported))} only"
            )
    settings: dict[str, Any] = {**_DEFAULTS, **written}
    if written.get("n_inner") not in (None, 4 * settings["n_embd"]):
        raise ValueError(
            f"{file} says n_inner {written['n_inner']}, but the perceptrons of tinymp's GPT are "
            f"four times as wide as the model: {4 * settings['n_embd']}"
        )
    return settings


def _check_head(file: Path, tensors: dict[str, Tensor]) -> None:
    """Take the output's own table away; it must be that of the tokens."""
    head, table = tensors.pop(_HEAD, None), tensors.get("wte.weight")
    if head is None or table is None:
        return
    if head.shape != table.shape or head.storage.tobytes() != table.storage.tobytes():
        raise ValueError(
            f"{file} has an {_HEAD} that differs from wte.weight; tinymp's GPT uses one table at "
            "its input and its output (tied weights)"
        )


def _check_names(file: Path, given: set[str], expected: set[str]) -> None:
    for problem, names in (("lacks", expected - given), ("has also", given - expected)):
        if names:
            listed = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
            raise ValueError(
                f"{file} {problem} {listed}: these are not the weights of the GPT-2 that {CONFIG} "
                "describes; check that both files belong together"
            )


def _dtype(file: Path, tensors: dict[str, Tensor]) -> DType:
    dtypes = sorted({tensor.dtype.name for tensor in tensors.values()})
    if len(dtypes) > 1:
        raise ValueError(
            f"{file} holds weights in {' and '.join(dtypes)}; say in which one the model is to "
            "be, as in dtype=tinymp.float32"
        )
    return next(iter(tensors.values())).dtype


def _config(model: GPT) -> dict[str, Any]:
    vocabulary, width = model.token_table.weight.shape
    dropout = model.dropout.p
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "torch_dtype": model.token_table.weight.dtype.name,
        "vocab_size": vocabulary,
        "n_positions": model.context,
        "n_ctx": model.context,
        "n_embd": width,
        "n_layer": len(model.blocks),
        "n_head": model.blocks[0].attention.heads,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": model.norm.eps,
        "attn_pdrop": dropout,
        "embd_pdrop": dropout,
        "resid_pdrop": dropout,
        "initializer_range": 0.02,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "tie_word_embeddings": True,
        # The library's own defaults would be GPT-2's token 50256, which a small model lacks.
        "bos_token_id": None,
        "eos_token_id": None,
    }
