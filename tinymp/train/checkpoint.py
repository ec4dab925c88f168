"""A training state in one file, from which a run continues bit for bit.

The file is in the safetensors format. Each tensor is stored in its own dtype, so that a bfloat16
weight takes 2 bytes here as well, and any tool that reads safetensors finds it under a name such
as `model.0.weight`. All that is no tensor (steps, loss scale, random state, configuration) is one
JSON text in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinymp.autograd import Tensor
from tinymp.data.tensor_file import read_tensors, write_tensors

VERSION = 1

_KEY = "tinymp"


class CheckpointError(ValueError):
    """A file from which no training can continue; the message says why, and what to do."""


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state, atomically: a process that dies meanwhile leaves the previous checkpoint.

    `state` may nest dictionaries and lists of tensors, numbers, strings, booleans and None, as the
    `state_dict()` of a model or an optimizer does. Equal states give equal bytes.
    """
    tensors: dict[str, Tensor] = {}
    document = {"version": VERSION, "state": _without_tensors(state, "", tensors)}
    write_tensors(path, tensors, {_KEY: json.dumps(document)})


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that `write_checkpoint` wrote, its tensors on the CPU.

    Raises:
        FileNotFoundError: no such file.
        CheckpointError: a truncated file, one that another program wrote, or another version's.
    """
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise CheckpointError(
            f"{error}; restore it from a copy, or start the run anew in another folder"
        ) from None
    if _KEY not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file, but tinymp did not write it: its metadata has no entry "
            f"{_KEY!r}; training continues only from tinymp's own checkpoints"
        )
    document = json.loads(metadata[_KEY])
    if document["version"] != VERSION:
        raise CheckpointError(
            f"{path} has checkpoint version {document['version']}, but this tinymp reads version "
            f"{VERSION}; continue with the tinymp that wrote it, or start the run anew in another "
            "folder"
        )
    state: dict[str, Any] = _with_tensors(document["state"], tensors)
    return state


def refuse_other_model(path: Path, given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise a CheckpointError unless two model states agree in names, shapes and dtypes.

    Checked before anything is loaded, so that a refused checkpoint has changed nothing.
    """
    for name in [*expected, *given]:
        here, there = (
            "nothing"
            if state.get(name) is None
            else f"{state[name].dtype.name}{[*state[name].shape]}"
            for state in (expected, given)
        )
        if here != there:
            raise CheckpointError(
                f"{path} holds another model: {name!r} is {there} there, but {here} in this run; "
                "continue it with the policy and the layer sizes that it was started with"
            )


def _without_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON can hold it; its tensors are moved to `tensors`, under their path."""
    prefix = f"{name}." if name else ""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"$tensor": name}
    if isinstance(value, Mapping):
        parts = {key: _without_tensors(x, f"{prefix}{key}", tensors) for key, x in value.items()}
        if all(isinstance(key, str) for key in parts):
            return parts
        return {"$items": [[key, x] for key, x in parts.items()]}  # JSON's keys are strings only
    if isinstance(value, list | tuple):
        return [_without_tensors(x, f"{prefix}{i}", tensors) for i, x in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a checkpoint was given a {type(value).__name__} as {name!r}; it holds tensors, numbers, "
        "strings, booleans, None, and dictionaries and lists of them"
    )


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What `_without_tensors` was given; tuples come back as lists."""
    if isinstance(value, list):
        return [_with_tensors(x, tensors) for x in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    pairs = value.get("$items", value.items())
    return {key: _with_tensors(x, tensors) for key, x in pairs}
