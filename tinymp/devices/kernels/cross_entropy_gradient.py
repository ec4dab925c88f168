"""The gradient of cross_entropy with respect to the logits.

    dx = (e^(x - logsumexp) - [column is the label])·share

A row's share of the gradient g of the loss is g over the number of rows that count ("mean"), g
("sum") or its own g ("none"); 0 for a row that does not count, NaN for one whose label is not among
the classes.

Memory: reads x once, writes dx once, both as they are stored; 12 bytes a row beside.

Error: float32 operations in the rule's order; e^(x - logsumexp) by `exponential`, whose bound is
(4 + 3|x - logsumexp|)·2^-24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.devices.kernels.cross_entropy import group_threads
from tinymp.devices.kernels.operands import aligned, contiguous, readable, writable
from tinymp.devices.kernels.pieces import PIECES, rows_of_a_block
from tinymp.devices.kernels.rows import ROWS
from tinymp.devices.kernels.softmax import EXPONENTIAL, Kernel
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + EXPONENTIAL
    + ROWS
    + r"""
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block
constexpr int count = 16 / sizeof(X::word);

extern "C" __global__ void __launch_bounds__(threads * groups)
cross_entropy_gradient(const G::word *__restrict__ g, const X::word *__restrict__ x,
                       const long long *__restrict__ labels, const float *__restrict__ logsumexps,
                       const float *__restrict__ counted, Dx::word *__restrict__ dx,
                       long long rows, int classes, long long ignored) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    if (row >= rows) return;
    const X::word *mine = x + row * classes;
    Dx::word *out = dx + row * classes;
    const long long label = labels[row];
    const bool counts = !ignores || label != ignored, known = label >= 0 && label < classes;
    const int hot = known ? (int)label : -1;
    const float logsumexp = logsumexps[row];
    float share = known ? decode<G>(g[each ? row : 0]) : not_a_number;
    if (average) share = share / *counted;

    const auto gradient = [&](int column, float value) {
        const float probability = exponential(value - logsumexp);
        const float missed = column == hot ? probability - 1.0f : probability;
        return counts ? missed * share : 0.0f;  // not 0·share, which may be infinite
    };
    for_row<X, threads>(
        mine, classes, threadIdx.x % threads,
        [&](int column, const Piece<X, count> &piece) {
            float values[count];
            #pragma unroll
            for (int i = 0; i < count; ++i) values[i] = gradient(column + i, piece[i]);
            write<Dx, mode>(out + column, values);
        },
        [&](int column, float value) {
            out[column] = encode<Dx, mode>(gradient(column, value));
        });
}
"""
)


@once_a_device
def _kernel(
    classes: int, g: Any, x: Any, target: Target, reduction: str, ignores: bool
) -> Kernel | None:
    """The kernel for operands of these formats; None where none serves."""
    # dx begins at a multiple of 16 bytes; then its pieces lie as those of x do if x does, too.
    if not (readable(g, x) and writable(target)) or target.dtype.itemsize != x.itemsize:
        return None
    threads = group_threads(classes * x.itemsize)
    run = instance(
        "cross_entropy_gradient",
        SOURCE,
        G=g,
        X=x,
        Dx=target.dtype,
        mode=target.mode,
        each=reduction == "none",
        average=reduction == "mean",
        ignores=ignores,
        threads=threads,
    )
    rows = rows_of_a_block(threads)
    return Kernel(run, rows, rows * threads)


def cross_entropy_gradient(
    g: Any,
    x: Any,
    labels: Any,
    weight: Any,
    logsumexp: Any,
    counted: Any,
    ignore_index: int | None,
    reduction: str,
    smoothing: float,
    *,
    targets: tuple[Target],
) -> Any:
    """Twin of the rule: gradient of the logits."""
    import cupy

    # Without `counted` it was the rule that ran forward.
    if weight is not None or smoothing or (counted is None and reduction == "mean"):
        return NotImplemented
    (target,) = targets
    rows, classes = x.storage.shape
    kernel = _kernel(classes, g.dtype, x.dtype, target, reduction, ignore_index is not None)
    if kernel is None or x.storage.size == 0:
        return NotImplemented
    if not (contiguous(g.storage, x.storage, labels.storage) and aligned(x.storage)):
        return NotImplemented
    dx = cupy.empty(x.storage.shape, target.dtype.storage)
    sizes = np.int64(rows), np.int32(classes), np.int64(ignore_index or 0)
    arguments = (g.storage, x.storage, labels.storage, logsumexp, counted, dx, *sizes)
    kernel.run((-(-rows // kernel.rows),), (kernel.threads,), arguments)
    return (dx,)
