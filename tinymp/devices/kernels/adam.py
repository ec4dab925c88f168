"""Adam and AdamW on all parameters at once: unscale, clip, step, and round the weights.

    g = g·(1 / scale)·clip                            Adam: + weight_decay·w
    m = β1·m + (1 - β1)·g,   v = β2·v + (1 - β2)·g²
    w = w - lr·m̂ / (√v̂ + eps)                         AdamW: - lr·weight_decay·w
    copy = w, rounded                                 what the model computes with

m̂ = m / (1 - β1^t), v̂ = v / (1 - β2^t). w (the masters), m and v are float32; g and copy float32 or
of 2 bytes. Scale, clip, learning rate and the number t of steps are read from device memory, and
with them whether the gradients held an inf or a NaN: then nothing changes, t neither. The host
waits for nothing, so that a CUDA graph can hold a step.

Memory: reads g, w, m and v once, writes w, m, v and the copy once: 28 bytes a parameter with
2-byte gradients and weights.

The bits are those of `optim.adam`'s rule on float32 arrays: the same operations in the same order,
with the same float32 constants. One of them may differ: powers of β in float64 are good to 2 units
in the last place here, to 1 in C libraries, so 1 - β^t, rounded to float32, can come out on the
other side of a midpoint. That is 1 unit of float32, in about one step out of 10^6.
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

ROLES = 5  # gradient, weight, m, v, copy

SOURCE = (
    PIECES
    + TENSOR_LISTS
    + SCALARS
    + r"""
extern "C" __global__ void __launch_bounds__(256)
adam(const __grid_constant__ TensorLists lists, const Scalars *__restrict__ scalars,
     float beta1, float rest1, float beta2, float rest2, float eps, float decay) {
    const Scalars now = *scalars;
    if (now.skipped) return;
    const int k = tensor_of_block(lists);
    const G::word *gradients = (const G::word *)lists.addresses[0][k];
    float *weights = (float *)lists.addresses[1][k];
    float *means = (float *)lists.addresses[2][k], *squares = (float *)lists.addresses[3][k];
    Copy::word *copies = (Copy::word *)lists.addresses[4][k];
    const long long size = lists.sizes[k];
    const long long start = (long long)(blockIdx.x - lists.first_chunk[k]) * chunk;
    unsigned long long all = 0;
    for (int role = 0; role < (copied ? 5 : 4); ++role) all |= lists.addresses[role][k];

    const auto step = [&](float g, float &w, float &m, float &v) {
        g = g * now.unscale * now.clip;
        if (decays && !decoupled) g = g + decay * w;
        m = beta1 * m + rest1 * g;
        v = beta2 * v + rest2 * (g * g);
        float change = now.lr * (m / now.correction1) / (sqrtf(v / now.correction2) + eps);
        if (decays && decoupled) change = change + now.lr_decay * w;
        w = w - change;
    };
    #pragma unroll 2
    for (int part = 0; part < chunk / 1024; ++part) {
        const long long first = start + part * 1024 + threadIdx.x * 4;
        if (all % 16 == 0 && first + 4 <= size) {
            const auto g = piece_at<G, 4>(gradients + first);
            const auto w_held = piece_at<float32, 4>(weights + first);
            const auto m_held = piece_at<float32, 4>(means + first);
            const auto v_held = piece_at<float32, 4>(squares + first);
            float w[4], m[4], v[4];
            #pragma unroll
            for (int i = 0; i < 4; ++i) {
                w[i] = w_held[i], m[i] = m_held[i], v[i] = v_held[i];
                step(g[i], w[i], m[i], v[i]);
            }
            write<float32, nearest_even>(weights + first, w);
            write<float32, nearest_even>(means + first, m);
            write<float32, nearest_even>(squares + first, v);
            if (copied) write<Copy, mode>(copies + first, w);
        } else {
            for (long long i = first; i < size && i < first + 4; ++i) {
                step(decode<G>(gradients[i]), weights[i], means[i], squares[i]);
                if (copied) copies[i] = encode<Copy, mode>(weights[i]);
            }
        }
    }
}
"""
)


@once_a_device
def _kernel(gradient: Any, copy: Any, mode: str, decays: bool, decoupled: bool) -> Any:
    return instance(
        "adam",
        SOURCE,
        G=gradient,
        Copy=copy or FLOAT32,
        mode=mode,
        copied=copy is not None,
        decays=decays,
        decoupled=decoupled,
        roles=ROLES,
        most=most_tensors(ROLES),
        chunk=Stepping.chunk,
    )


class AdamStep(Stepping):
    """Steps of Adam on float32 `weights` with the states `means` (m) and `squares` (v).

    All are lists of CuPy arrays, position by position of one size. `copies`: storage that gets the
    weights, rounded to `copy_dtype`; None for none. For the rest see `Stepping`.
    """

    def __init__(
        self,
        weights: Sequence[Any],
        means: Sequence[Any],
        squares: Sequence[Any],
        copies: Sequence[Any] | None = None,
        copy_dtype: Any = None,
    ) -> None:
        lists = [weights, means, squares] + ([] if copies is None else [copies])
        super().__init__(lists, ROLES, copy_dtype)

    def __call__(
        self,
        gradients: Sequence[Any],
        gradient_dtype: Any,
        *,
        lr: Any,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        decoupled: bool,
        mode: str = "nearest_even",
        check: Any = None,
        scale: Any = None,
        skips: bool = True,
    ) -> None:
        """Make a step. `decoupled`: AdamW. `mode` rounds the copies."""
        self.lists.point(0, gradients)
        scalars = next_step(self, lr, betas, weight_decay, check, scale, skips)
        run = _kernel(gradient_dtype, self.copy_dtype, mode, weight_decay != 0, decoupled)
        constants = (betas[0], 1 - betas[0], betas[1], 1 - betas[1], eps, weight_decay)
        rounded = [np.float32(c) for c in constants]
        for parameter, blocks in self.lists.launches():
            run((blocks,), (256,), (parameter, scalars, *rounded))
