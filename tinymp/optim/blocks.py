"""In which pieces is an elementwise computation on a large tensor carried out, and by whom?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import EllipsisType

from tinymp.autograd import Tensor
from tinymp.devices.threads import share
from tinymp.numerics.quiet import quietly

Block = slice | EllipsisType

# So many elements of float32 take 128 KiB: a few such arrays, the temporaries of a formula written
# plainly, fit into a core's second-level cache together.
BLOCK = 32 * 1024


def blocks(tensor: Tensor) -> Sequence[Block]:
    """Indices that together cover `tensor` once: runs of rows on the CPU, all of it on a GPU.

    Formulas in NumPy write each intermediate result to memory. In blocks those stay in the cache,
    which is faster, and take next to no memory. A GPU has no such cache; there each piece would
    cost a launch.
    """
    size = tensor._array.size
    if size <= BLOCK or tensor.device != "cpu":
        return (...,) if size else ()
    rows = tensor.shape[0]
    step = max(1, BLOCK * rows // size)
    return [slice(start, start + step) for start in range(0, rows, step)]


def for_each_block(tensor: Tensor, work: Callable[[Block], None], weight: int) -> None:
    """Call `work` with each of the `blocks`, which threads share where that is worth it.

    `weight`: how much longer than a copy the computation takes.
    """
    indices = blocks(tensor)

    def part(begin: int, end: int) -> None:
        for index in indices[begin:end]:
            work(index)

    share(partial(quietly, part), len(indices), 1, weight * BLOCK)
