"""SGD on all parameters at once: unscale, clip, step, and round the weights.

    g = g·(1 / scale)·clip + weight_decay·w
    b = g in the first step, momentum·b + (1 - dampening)·g afterwards
    w = w - lr·b       without momentum: - lr·g,   nesterov: - lr·(g + momentum·b)
    copy = w, rounded

Everything else is as in `adam`: the numbers in device memory, skipped steps, and the bits, which
are those of `optim.sgd`'s rule on float32 arrays, without exception.

Memory: reads g, w and b once, writes w, b and the copy once: 20 bytes a parameter with 2-byte
gradients and weights, 12 without momentum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymp.devices.kernels.operands import FLOAT32
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.stepping import SCALARS, Stepping, next_step
from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.tensor_lists import TENSOR_LISTS, most_tensors

ROLES = 4  # gradient, weight, copy, momentum buffer

SOURCE = (
    PIECES
    + TENSOR_LISTS
    + SCALARS
    + r"""
extern "C" __global__ void __launch_bounds__(256)
sgd(const __grid_constant__ TensorLists lists, const Scalars *__restrict__ scalars,
    float momentum, float rest, float decay) {
    const Scalars now = *scalars;
    if (now.skipped) return;
    const int k = tensor_of_block(lists);
    const G::word *gradients = (const G::word *)lists.addresses[0][k];
    float *weights = (float *)lists.addresses[1][k], *buffers = (float *)lists.addresses[3][k];
    Copy::word *copies = (Copy::word *)lists.addresses[2][k];
    const long long size = lists.sizes[k];
    const long long start = (long long)(blockIdx.x - lists.first_chunk[k]) * chunk;
    unsigned long long all = lists.addresses[0][k] | lists.addresses[1][k];
    if (copied) all |= lists.addresses[2][k];
    if (buffered) all |= lists.addresses[3][k];

    const auto step = [&](float g, float &w, float &b) {
        g = g * now.unscale * now.clip;
        if (decays) g = g + decay * w;
        if (buffered) b = now.first ? g : momentum * b + rest * g;
        const float change = nesterov ? g + momentum * b : buffered ? b : g;
        w = w - now.lr * change;
    };
    #pragma unroll 2
    for (int part = 0; part < chunk / 1024; ++part) {
        const long long first = start + part * 1024 + threadIdx.x * 4;
        if (all % 16 == 0 && first + 4 <= size) {
            const auto g = piece_at<G, 4>(gradients + first);
            const auto w_held = piece_at<float32, 4>(weights + first);
            float w[4], b[4] = {};
            if (buffered) {
                const auto b_held = piece_at<float32, 4>(buffers + first);
                #pragma unroll
                for (int i = 0; i < 4; ++i) b[i] = b_held[i];
            }
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                w[i] = w_held[i];
                step(g[i], w[i], b[i]);
            }
            write<float32, nearest_even>(weights + first, w);
            if (buffered) write<float32, nearest_even>(buffers + first, b);
            if (copied) write<Copy, mode>(copies + first, w);
        } else {
            for (long long i = first; i < size && i < first + 4; ++i) {
                float none = 0;
                step(decode<G>(gradients[i]), weights[i], buffered ? buffers[i] : none);
                if (copied) copies[i] = encode<Copy, mode>(weights[i]);
            }
        }
    }
}
"""
)


@once_a_device
def _kernel(
    gradient: Any, copy: Any, mode: str, buffered: bool, decays: bool, nesterov: bool
) -> Any:
    return instance(
        "sgd",
        SOURCE,
        G=gradient,
        Copy=copy or FLOAT32,
        mode=mode,
        copied=copy is not None,
        buffered=buffered,
        decays=decays,
        nesterov=nesterov,
        roles=ROLES,
        most=most_tensors(ROLES),
        chunk=Stepping.chunk,
    )


class SgdStep(Stepping):
    """Steps of SGD on float32 `weights`, with momentum where there are `buffers`.

    All are lists of CuPy arrays, position by position of one size. `copies`: storage that gets the
    weights, rounded to `copy_dtype`; None for none. For the rest see `Stepping`.
    """

    def __init__(
        self,
        weights: Sequence[Any],
        buffers: Sequence[Any] | None = None,
        copies: Sequence[Any] | None = None,
        copy_dtype: Any = None,
    ) -> None:
        unused = weights  # stands in the list of a role that nothing reads or writes
        lists = [weights, copies or unused, buffers or unused]
        super().__init__(lists, ROLES, copy_dtype)
        self.buffered = buffers is not None

    def __call__(
        self,
        gradients: Sequence[Any],
        gradient_dtype: Any,
        *,
        lr: Any,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        mode: str = "nearest_even",
        check: Any = None,
        scale: Any = None,
        skips: bool = True,
    ) -> None:
        """Make a step. `mode` rounds the copies."""
        self.lists.point(0, gradients)
        scalars = next_step(self, lr, (0.0, 0.0), weight_decay, check, scale, skips)
        run = _kernel(
            gradient_dtype, self.copy_dtype, mode, self.buffered, weight_decay != 0, nesterov
        )
        constants = (np.float32(momentum), np.float32(1 - dampening), np.float32(weight_decay))
        for parameter, blocks in self.lists.launches():
            run((blocks,), (256,), (parameter, scalars, *constants))
