"""cross_entropy from logits, forward: -log softmax(x)[label] of each row, and their mean or sum.

    loss = logsumexp - x[label],   logsumexp = log Σ e^(x - h) + h,   h the largest x of the row

x (rows, classes) in any format, labels (rows,) int64; logsumexp (rows,), float32, is kept for
backward, and with it how many rows count. A row with the label `ignore_index` does not. A label
outside 0 ... classes - 1 makes the loss of its row NaN: finding it on the host would mean waiting
for the GPU in every step.

Memory: reads x once, as it is stored, and writes 4 or 8 bytes a row. Maximum and sum are found in
the same pass: when a larger element comes, the sum so far is scaled down (Milakov & Gimelshein,
Online normalizer calculation for softmax, arXiv 1805.02867, section 3).

Error of logsumexp: at most (4 + 3E + a + 5s)·2^-24 from the sum, where E is the mean of h - x under
softmax(x), at most log(classes), and a term passes through a additions (classes/threads + 16) and s
scalings (classes/(8·threads) + 2); and 2 units in the last place from the logarithm, the last sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinymp.devices.kernels.operands import FLOAT32, contiguous, readable, writable
from tinymp.devices.kernels.pieces import PIECES, rows_of_a_block
from tinymp.devices.kernels.rows import ROWS
from tinymp.devices.kernels.softmax import EXPONENTIAL
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.twin import Target

SOURCE = (
    PIECES
    + EXPONENTIAL
    + ROWS
    + r"""
constexpr float lowest = -3.402823466e38f;  // finite, so that `lowest - lowest` is 0
constexpr int groups = threads == 32 ? 4 : 1;  // rows of a block
constexpr int count = 16 / sizeof(X::word);

extern "C" __global__ void __launch_bounds__(threads * groups)
cross_entropy(const X::word *__restrict__ x, const long long *__restrict__ labels,
              Out::word *__restrict__ losses, float *__restrict__ logsumexps,
              long long rows, int classes, long long ignored) {
    const long long row = (long long)blockIdx.x * groups + threadIdx.x / threads;
    const int lane = threadIdx.x % threads;
    if (row >= rows) return;  // a whole warp; several warps have a block of their own
    const X::word *mine = x + row * classes;

    float highest = lowest, sum = 0;
    for_row<X, threads>(
        mine, classes, lane,
        [&](int, const Piece<X, count> &piece) {
            float larger = highest;
            #pragma unroll
            for (int i = 0; i < count; ++i) larger = fmaxf(larger, piece[i]);
            sum *= exponential(highest - larger);
            #pragma unroll
            for (int i = 0; i < count; ++i) sum += exponential(piece[i] - larger);
            highest = larger;
        },
        [&](int, float value) {
            const float larger = fmaxf(highest, value);
            sum = sum * exponential(highest - larger) + exponential(value - larger);
            highest = larger;
        });
    const float of_row = over_group<Larger, threads, groups>(highest);
    sum = over_group<Add, threads, groups>(sum * exponential(highest - of_row));
    if (lane > 0) return;

    // A row of -infinity alone has no softmax: NaN, as inf - inf is in the rule.
    const float logsumexp = sum == 0 ? not_a_number : logf(sum) + of_row;
    const long long label = labels[row];
    float loss = 0;
    if (!ignores || label != ignored) {
        const bool known = label >= 0 && label < classes;
        loss = known ? logsumexp - decode<X>(mine[label]) : not_a_number;
    }
    logsumexps[row] = logsumexp;
    losses[row] = encode<Out, mode>(loss);
}
"""
)

# The losses of all rows are added by one block: there are few beside the logits.
REDUCED = (
    PIECES
    + r"""
extern "C" __global__ void __launch_bounds__(512)
reduced(const float *__restrict__ losses, const long long *__restrict__ labels,
        Out::word *__restrict__ out, float *__restrict__ counted_out,
        long long rows, long long ignored) {
    constexpr int batch = 8;
    float total = 0, counted = 0;
    for (long long first = threadIdx.x; first < rows; first += batch * 512) {
        float held[batch];
        bool counts[batch];
        #pragma unroll
        for (int i = 0; i < batch; ++i) {
            const long long row = first + i * 512;
            held[i] = row < rows ? losses[row] : 0.0f;
            counts[i] = row < rows && (!ignores || labels[row] != ignored);
        }
        #pragma unroll
        for (int i = 0; i < batch; ++i) {
            total += held[i];
            counted += counts[i];
        }
    }
    total = over_group<Add, 512, 1>(total);
    counted = over_group<Add, 512, 1>(counted);  // exact up to 2^24 rows
    if (threadIdx.x > 0) return;
    *out = encode<Out, mode>(average ? total / counted : total);
    *counted_out = counted;
}
"""
)


class Kernels(NamedTuple):
    """The compiled kernels, and the rows and threads of the first one's blocks."""

    losses: Any
    reduced: Any
    rows: int
    threads: int


@once_a_device
def _kernels(classes: int, x: Any, target: Target, reduction: str, ignores: bool) -> Kernels | None:
    """The kernels for operands of these formats; None where none serve."""
    if not (readable(x) and writable(target)) or classes == 0:
        return None
    threads = group_threads(classes * x.itemsize)
    whole = {"Out": target.dtype, "mode": target.mode, "ignores": ignores}
    each = whole if reduction == "none" else {**whole, "Out": FLOAT32, "mode": "nearest_even"}
    rows = rows_of_a_block(threads)
    return Kernels(
        instance("cross_entropy", SOURCE, X=x, threads=threads, **each),
        instance("reduced", REDUCED, average=reduction == "mean", **whole),
        rows,
        rows * threads,
    )


def cross_entropy(
    x: Any,
    labels: Any,
    weight: Any = None,
    *,
    ignore_index: int | None,
    reduction: str,
    smoothing: float,
    target: Target,
) -> Any:
    """Twin of the rule: storage of the loss, logsumexp, and how many rows count (float32)."""
    import cupy

    if weight is not None or smoothing or x.storage.size == 0:
        return NotImplemented
    rows, classes = x.storage.shape
    kernels = _kernels(classes, x.dtype, target, reduction, ignore_index is not None)
    if kernels is None or not contiguous(x.storage, labels.storage):
        return NotImplemented
    losses = cupy.empty(rows, target.dtype.storage if reduction == "none" else np.float32)
    logsumexp = cupy.empty(rows, np.float32)
    numbers, ignored = labels.storage, np.int64(ignore_index or 0)
    sizes = np.int64(rows), np.int32(classes), ignored
    grid = (-(-rows // kernels.rows),)
    kernels.losses(grid, (kernels.threads,), (x.storage, numbers, losses, logsumexp, *sizes))
    if reduction == "none":
        return losses, logsumexp, None
    out, counted = cupy.empty((), target.dtype.storage), cupy.empty((), np.float32)
    kernels.reduced((1,), (512,), (losses, numbers, out, counted, sizes[0], ignored))
    return out, logsumexp, counted


def group_threads(row_bytes: int) -> int:
    """How many threads stream a row: 4 pieces of 16 bytes or more for each, if it has so many."""
    return next((t for t in (32, 128) if row_bytes <= t * 128), 256)
