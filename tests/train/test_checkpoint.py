"""A checkpoint gives back what was written, to other tools too, and refuses what is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.formats import DTYPES
from tinymp.train.checkpoint import (
    CheckpointError,
    read_checkpoint,
    refuse_other_model,
    write_checkpoint,
)

FLOATS = [dtype for dtype in DTYPES if dtype.is_float]


def a_state() -> dict[str, Any]:
    values = [[1.5, -0.0, 0.1], [float("inf"), 2.0**-14, -3.0]]
    return {
        "model": {dtype.name: mp.tensor(values).to(dtype) for dtype in FLOATS},
        "other": [mp.tensor([1, 2]), mp.tensor([True, False]), mp.tensor(3.0), mp.zeros(0, 3)],
        "optimizer": {"state": {0: {"step": 7, "exp_avg": mp.ones(2)}}, "options": (0.9, None)},
        "scaler": {"scale": 65536.0, "growing": True},
        "random": [2**64 - 1, 5],
        "text": "größer",
    }


def same(x: Any, y: Any) -> bool:
    if isinstance(x, mp.Tensor):
        return (
            x.dtype is y.dtype and x.shape == y.shape and x.storage.tobytes() == y.storage.tobytes()
        )
    if isinstance(x, dict):
        return list(x) == list(y) and all(same(x[key], y[key]) for key in x)
    if isinstance(x, list | tuple):
        return len(x) == len(y) and all(map(same, x, y))
    return type(x) is type(y) and x == y


def test_gives_back_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, a_state())
    assert same(a_state(), read_checkpoint(path))


def test_what_is_read_can_be_written_in_place(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "checkpoint", {"x": mp.zeros(2)})
    x = read_checkpoint(tmp_path / "checkpoint")["x"]
    x[0] = 1.0
    assert x.tolist() == [1.0, 0.0]


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_checkpoint(tmp_path / name, a_state())
    write_checkpoint(tmp_path / "c", read_checkpoint(tmp_path / "a"))
    contents = {(tmp_path / name).read_bytes() for name in "abc"}
    assert len(contents) == 1


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
def test_takes_as_many_bytes_as_the_dtype_is_wide(tmp_path: Path, dtype: mp.DType) -> None:
    write_checkpoint(tmp_path / "few", {"x": mp.zeros(1000, dtype=dtype)})
    write_checkpoint(tmp_path / "more", {"x": mp.zeros(2000, dtype=dtype)})
    growth = (tmp_path / "more").stat().st_size - (tmp_path / "few").stat().st_size
    assert abs(growth - 1000 * dtype.itemsize) <= 16  # the header pads to eight bytes


def test_a_transposed_tensor_keeps_its_order(tmp_path: Path) -> None:
    x = mp.arange(6.0).reshape(2, 3)
    write_checkpoint(tmp_path / "checkpoint", {"x": x.transpose(0, 1)})
    assert read_checkpoint(tmp_path / "checkpoint")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_other_tools_read_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    path = tmp_path / "checkpoint.safetensors"
    state = a_state()
    write_checkpoint(path, state)
    read = load_file(path)
    for dtype in FLOATS:
        theirs = read[f"model.{dtype.name}"]
        assert theirs.dtype is getattr(torch, dtype.name)
        ours = state["model"][dtype.name].numpy()
        np.testing.assert_array_equal(theirs.to(torch.float64).numpy(), ours)


def test_numpy_users_read_it(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_checkpoint(tmp_path / "checkpoint", {"x": mp.tensor([1.5, 0.1]).half()})
    read = load_file(tmp_path / "checkpoint")["x"]
    np.testing.assert_array_equal(read, np.array([1.5, 0.1], np.float16))


def test_refuses_every_truncation(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write_checkpoint(path, a_state())
    content = path.read_bytes()
    for length in (0, 1, 7, 8, 9, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=r"no complete safetensors file .*cut short"):
            read_checkpoint(path)
        assert path.read_bytes() == content[:length]


def test_refuses_a_foreign_file(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    foreign = tmp_path / "model.safetensors"
    save_file({"x": np.zeros(2, np.float32)}, foreign, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="tinymp did not write it"):
        read_checkpoint(foreign)
    foreign.write_text("a text, and no tensors at all", encoding="utf-8")
    with pytest.raises(CheckpointError, match="no complete safetensors file"):
        read_checkpoint(foreign)


def test_refuses_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinymp.train.checkpoint.VERSION", 99)
    write_checkpoint(tmp_path / "checkpoint", a_state())
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"version 99, but this tinymp reads version 1;"):
        read_checkpoint(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({"w": mp.zeros(3, 2)}, r"'w' is float32\[3, 2\] there, but float32\[2, 3\] in this run"),
        ({"w": mp.zeros(2, 3).half()}, r"'w' is float16\[2, 3\] there, but float32\[2, 3\]"),
        ({}, r"'w' is nothing there, but float32\[2, 3\] in this run"),
        ({"w": mp.zeros(2, 3), "b": mp.zeros(2)}, r"'b' is float32\[2\] there, but nothing"),
    ],
)
def test_refuses_another_model(given: dict[str, mp.Tensor], difference: str) -> None:
    with pytest.raises(CheckpointError, match=difference):
        refuse_other_model(Path("checkpoint"), given, {"w": mp.zeros(2, 3)})


def test_says_what_a_checkpoint_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"was given a set as 'model.ids'; it holds tensors, numbers"
    ):
        write_checkpoint(tmp_path / "checkpoint", {"model": {"ids": {1}}})
    assert not (tmp_path / "checkpoint").exists()


def test_the_document_is_one_json_text_in_the_metadata(tmp_path: Path) -> None:
    from safetensors import safe_open

    write_checkpoint(tmp_path / "checkpoint", {"epoch": 3, "w": mp.zeros(1)})
    with safe_open(tmp_path / "checkpoint", framework="np") as file:
        document = json.loads(file.metadata()["tinymp"])
    assert document == {"version": 1, "state": {"epoch": 3, "w": {"$tensor": "w"}}}
