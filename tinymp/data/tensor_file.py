"""Tensors in a file, by name, in the safetensors format that most libraries read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.data.atomic import write_atomically
from tinymp.devices import device_of
from tinymp.formats import (
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
)

_DTYPES = {
    "F64": float64,
    "F32": float32,
    "F16": float16,
    "BF16": bfloat16,
    "F8_E4M3": float8_e4m3fn,
    "F8_E5M2": float8_e5m2,
    "I64": int64,
    "BOOL": bool_,
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, each in its own dtype, and some text beside them, atomically.

    A bfloat16 tensor takes 2 bytes an element here as well. Equal tensors give equal bytes.
    """
    from safetensors import TensorSpec, serialize

    # The format's writer takes addresses, so the arrays must outlive the call.
    arrays = {name: _on_host(tensor) for name, tensor in tensors.items()}
    specs = {
        name: TensorSpec(
            dtype=tensors[name].dtype.name,
            shape=tensors[name].shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    write_atomically(path, bytes(serialize(specs, metadata=dict(metadata))))


def read_tensors(
    path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of the wanted names, on the CPU, and the text beside them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that was cut short or is none of this format, or a wanted tensor in a
            dtype that tinymp does not have.
    """
    from safetensors import SafetensorError, deserialize, safe_open

    content = path.read_bytes()
    try:
        entries: list[tuple[str, dict[str, Any]]] = deserialize(content)  # type: ignore[no-untyped-call]
        with safe_open(path, framework="np") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no complete safetensors file ({error}): it was cut short, or is of another "
            "kind"
        ) from None
    return {name: _tensor(path, name, entry) for name, entry in entries if wanted(name)}, metadata


def _on_host(tensor: Tensor) -> np.ndarray[Any, Any]:
    storage = tensor.storage
    return np.ascontiguousarray(device_of(storage).to_numpy(storage))


def _tensor(path: Path, name: str, entry: Mapping[str, Any]) -> Tensor:
    if entry["dtype"] not in _DTYPES:
        raise ValueError(
            f"{path} holds {name!r} in dtype {entry['dtype']}; tinymp reads {', '.join(_DTYPES)}"
        )
    dtype = _DTYPES[entry["dtype"]]
    return Tensor(np.frombuffer(entry["data"], dtype.storage).reshape(entry["shape"]), dtype)
