"""How operands of an elementwise kernel lie: the axes that they all need, and their strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import numpy as np

from tinymp.devices.kernels.tracing import Untraceable

#: Elements that a thread takes, where the layout allows it.
VECTOR = 8
_LARGEST = 2**31 - 1  # elements that 32-bit indices count


def offsets(operands: int, axes: int) -> str:
    """Statements that turn the index of an element into the offset of each operand."""
    lines = []
    for axis in range(axes - 1, 0, -1):
        lines += [f"const int i{axis} = rest % length{axis};", f"rest /= length{axis};"]
    lines.append("const int i0 = rest;")
    for k in range(operands):
        terms = [f"(long long)i{axis} * stride{k}_{axis}" for axis in range(axes)]
        lines.append(f"const long long offset{k} = {' + '.join(terms)};")
    return "\n    ".join(lines)


@dataclass(frozen=True)
class Layout:
    """How the operands lie: number of axes, elements a thread, and the kernel's last arguments."""

    axes: int
    vector: int
    arguments: tuple[Any, ...]


@cache
def layout_of(
    operands: tuple[tuple[tuple[int, ...], tuple[int, ...], int, bool], ...],
    wanted: tuple[int, ...],
) -> tuple[tuple[int, ...], Layout]:
    """Shape of the result, and the fewest axes in which all operands have even strides."""
    shape = np.broadcast_shapes(wanted, *[shape for shape, *_ in operands])
    count = prod(shape)
    if count > _LARGEST:
        raise Untraceable(f"{count} elements")
    # Every operand's stride along every axis of the result, in elements.
    strides = []
    for own, steps, itemsize, _ in operands:
        missing = len(shape) - len(own)
        even = [s // itemsize if n > 1 else 0 for n, s in zip(own, steps, strict=True)]
        strides.append([0] * missing + even)
    axes = [i for i, n in enumerate(shape) if n != 1]
    lengths: list[int] = []
    merged: list[list[int]] = [[] for _ in operands]
    for i in axes:
        joins = lengths and all(
            m[-1] == s[i] * shape[i] for m, s in zip(merged, strides, strict=True)
        )
        if joins:
            lengths[-1] *= shape[i]
            for m, s in zip(merged, strides, strict=True):
                m[-1] = s[i]
        else:
            lengths.append(shape[i])
            for m, s in zip(merged, strides, strict=True):
                m.append(s[i])
    if not lengths:
        lengths, merged = [1], [[0] for _ in operands]
    vector = VECTOR if _allows_vectors(lengths, merged, operands) else 1
    flat = [np.int32(stride) for own in merged for stride in own]
    arguments = (np.int32(count), *[np.int32(n) for n in lengths[1:]], *flat)
    return shape, Layout(len(lengths), vector, arguments)


def _allows_vectors(
    lengths: list[int], strides: list[list[int]], operands: Sequence[tuple[Any, ...]]
) -> bool:
    if lengths[-1] % VECTOR:
        return False
    for own, (_, _, _, aligned) in zip(strides, operands, strict=True):
        if own[-1] == 1 and not (aligned and all(step % VECTOR == 0 for step in own[:-1])):
            return False
        if own[-1] not in (0, 1):
            return False
    return True
