"""Where elements go, and where their gradients come back from: PyTorch's answer, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp.testing import check_operation, pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
pad = torch.nn.functional.pad

WIDE = [[2, 0, 1], [1, 1, 0]]
ALONG = [[[0, 1, 2, 1], [2, 2, 2, 2]], [[1, 0, 0, 1], [1, 0, 2, 0]]]  # (2, 2, 4)
MASK = np.array([[True, False, True, False], [False] * 4, [True] * 4])

# Each works on tensors of both kinds; x has shape (2, 3, 4), y (2, 1, 4).
SAME = {
    "reshape": lambda x: x.reshape(4, -1, 3),
    "view": lambda x: x.view(2, 12),
    "flatten": lambda x: x.flatten(1),
    "flatten between": lambda x: x.flatten(0, -2),
    "permute": lambda x: x.permute(2, 0, 1),
    "permute negative": lambda x: x.permute(-1, -3, -2),
    "transpose": lambda x: x.transpose(-1, 0),
    "mT": lambda x: x.mT,
    "t": lambda x: x[0].t(),
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "unsqueeze last": lambda x: x.unsqueeze(3),
    "squeeze": lambda x: x[:, :1, 2:3].squeeze(),
    "squeeze one": lambda x: x[:, :1].squeeze(1),
    "squeeze none": lambda x: x.squeeze(1),
    "expand": lambda x: x[:, :1].expand(2, 5, -1),
    "expand in front": lambda x: x.expand(2, -1, -1, 4),
    "broadcast_to": lambda x: x[0, 0].broadcast_to((3, 4)),
    "split": lambda x: x.split(2, dim=1)[1] * 3,
    "split sizes": lambda x: x.split([1, 0, 3], dim=-1)[2],
    "integer": lambda x: x[1],
    "negative integers": lambda x: x[-1, -2],
    "element": lambda x: x[1, 2, 3],
    "ellipsis": lambda x: x[..., 1],
    "none": lambda x: x[:, None, 1:, ..., None],
    "step": lambda x: x[:, ::2, 1::2],
    "out of range slice": lambda x: x[:, 2:99],
    "empty slice": lambda x: x[:, 3:],
    "list": lambda x: x[:, [2, 0, 2]],
    "lists": lambda x: x[[0, 1, 1], [2, 2, -1]],
    "list beside integer": lambda x: x[:, [1, 0], 2],
    "lists apart": lambda x: x[[0, 1], :, [3, 0]],
    "matrix of integers": lambda x: x[:, WIDE],
    "clone": lambda x: x.clone(),
    "flip": lambda x: x.flip(0, -1),
    "roll": lambda x: x.roll(5),
    "roll along": lambda x: x.roll((1, -2), (0, 2)),
    "repeat": lambda x: x.repeat(2, 1, 3, 2),
    "repeat none": lambda x: x.repeat(1, 0, 1),
    "tile": lambda x: x.tile((2, 1)),
    "tril": lambda x: x.tril(),
    "tril below": lambda x: x.tril(-1),
    "triu": lambda x: x.triu(1),
    "diagonal": lambda x: x.diagonal(),
    "diagonal beside": lambda x: x.diagonal(1, -1, 0),
    "diagonal below": lambda x: x.diagonal(-2, 1, 2),
    "no diagonal": lambda x: x.diagonal(9, 1, 2),
    "trace": lambda x: x[0].trace(),
    "movedim": lambda x: x.movedim(0, -1),
    "movedim two": lambda x: x.movedim((0, 2), (1, 0)),
    "moveaxis": lambda x: x.moveaxis((2, 1), (0, 1)),
    "swapaxes": lambda x: x.swapaxes(0, 2),
    "unbind": lambda x: x.unbind(1)[2],
    "chunk": lambda x: x.chunk(3, -1)[1],
    "chunk shorter": lambda x: x.chunk(2, 1)[1],
    "chain": lambda x: x.transpose(0, 2)[::2].reshape(-1).unsqueeze(0).expand(2, -1) * 2,
}
BOTH = {
    "cat": (lambda x, y: mp.cat([x, y, x], 1), lambda x, y: torch.cat([x, y, x], 1)),
    "cat of one": (lambda x, y: mp.cat([x]), lambda x, y: torch.cat([x])),
    "concatenate": (
        lambda x, y: mp.concatenate([y, x], -2),
        lambda x, y: torch.concatenate([y, x], -2),
    ),
    "stack": (lambda x, y: mp.stack([x, x * y], 1), lambda x, y: torch.stack([x, x * y], 1)),
    "stack last": (lambda x, y: mp.stack([y, y], -1), lambda x, y: torch.stack([y, y], -1)),
    "pad": (lambda x, y: mp.pad(x, (3, 1)), lambda x, y: pad(x, (3, 1))),
    "pad two": (
        lambda x, y: mp.pad(x, (0, 2, 4, 3), value=-1.5),
        lambda x, y: pad(x, (0, 2, 4, 3), value=-1.5),
    ),
    "mask": (lambda x, y: x[0][MASK], lambda x, y: x[0][torch.tensor(MASK)]),
    "mask of rows": (
        lambda x, y: x[mp.tensor([False, True])],
        lambda x, y: x[torch.tensor([False, True])],
    ),
    "take_along_dim": (
        lambda x, y: mp.take_along_dim(x, mp.tensor(ALONG), 1),
        lambda x, y: torch.take_along_dim(x, torch.tensor(ALONG), 1),
    ),
    "gather": (
        lambda x, y: x.gather(-1, mp.tensor(ALONG)[:, :, :3]),
        lambda x, y: x.gather(-1, torch.tensor(ALONG)[:, :, :3]),
    ),
    "scatter_add": (
        lambda x, y: x.scatter_add(1, mp.tensor(ALONG), x * 2),
        lambda x, y: x.scatter_add(1, torch.tensor(ALONG), x[:, :2] * 2),
    ),
    "scatter_add of few": (
        lambda x, y: y.scatter_add(-1, mp.tensor(ALONG)[:, :1, :2], x),
        lambda x, y: y.scatter_add(-1, torch.tensor(ALONG)[:, :1, :2], x[:, :1, :2]),
    ),
    "index_select": (
        lambda x, y: x.index_select(1, mp.tensor([2, 0, 2])),
        lambda x, y: x.index_select(1, torch.tensor([2, 0, 2])),
    ),
    "max": (lambda x, y: x.max(1).values, lambda x, y: x.max(1).values),
    "min": (lambda x, y: x.min(-1, True).values, lambda x, y: x.min(-1, True).values),
}  # fmt: skip
CASES = {name: (lambda x, y, f=f: f(x), lambda x, y, f=f: f(x)) for name, f in SAME.items()} | BOTH


@pytest.mark.parametrize("dtype", [mp.float64, mp.float32, mp.float16, mp.bfloat16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, dtype: Any) -> None:
    ours, theirs = CASES[name]
    rng = np.random.default_rng(6)
    x, y = (
        mp.tensor(
            rng.permutation(int(np.prod(shape))).reshape(shape) - 5, dtype, requires_grad=True
        )
        for shape in ((2, 3, 4), (2, 1, 4))
    )
    # Values are small integers and exact. Gradients are summed where elements are used many times:
    # in float32 by one operation, rounded on the way where several operations used them.
    unit = unit_roundoff(dtype)
    if name in ("cat", "stack", "stack last", "scatter_add"):
        unit = dtype.unit_roundoff("nearest_even")
    with mp.rounding("nearest_even"):
        check_operation(
            ours,
            pytorch_oracle(theirs),
            [x, y],
            dtype,
            lambda v, out, g: [0, *[8 * unit * np.abs(g).sum()] * 2],
        )
