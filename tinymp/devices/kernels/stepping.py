"""What the optimizers' kernels share: the numbers of a step that live in device memory.

A first, tiny kernel counts the step and works the numbers out, in float64 as Python does for the
rules; the second reads them, each rounded to float32, for every element of every parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinymp.devices.kernels.template import instance, once_a_device
from tinymp.devices.kernels.tensor_lists import TensorLists

SCALARS = r"""
struct Scalars {
    float unscale, clip;             // factors of the gradient
    float lr, lr_decay;              // the learning rate, alone and times the weight decay
    float correction1, correction2;  // 1 - beta^t
    float first;                     // whether this is step 1
    float skipped;                   // whether nothing may change
};
"""

SOURCE = (
    SCALARS
    + r"""
// check: largest, found, norm, clip, as `gradient_check` leaves them.
extern "C" __global__ void next_step(const double *check, const double *scale, const double *lr,
                                     double *steps, Scalars *scalars, double beta1, double beta2,
                                     double decay) {
    scalars->skipped = checked && skips && check[1] != 0;
    if (scalars->skipped) return;
    const double t = ++*steps;
    scalars->unscale = scaled ? (float)(1.0 / *scale) : 1.0f;
    scalars->clip = checked ? (float)check[3] : 1.0f;
    scalars->lr = (float)*lr;
    scalars->lr_decay = (float)(*lr * decay);
    scalars->correction1 = (float)(1.0 - pow(beta1, t));
    scalars->correction2 = (float)(1.0 - pow(beta2, t));
    scalars->first = t == 1.0;
}
"""
)


class Stepping:
    """Parameters that are stepped together, with their state.

    A step takes the gradients, storage of one format, and from device memory, each a float64 CuPy
    array: `lr` (of one element), `scale` (one element; None: gradients are not scaled), and
    `check`, the four numbers of `GradientCheck` (None: no clipping, nothing is skipped).
    `skips`: whether a check that found an inf or a NaN skips the step.

    Attributes:
        steps: how many steps were made, a float64 CuPy array of one element. Set it to resume.
    """

    chunk = 4096  # elements of a block

    def __init__(self, lists: Sequence[Sequence[Any]], roles: int, copy_dtype: Any) -> None:
        import cupy

        self.lists = TensorLists([array.size for array in lists[0]], roles, self.chunk)
        for role, arrays in enumerate(lists, start=1):
            self.lists.point(role, arrays)
        self.copy_dtype = copy_dtype
        self.steps = cupy.zeros(1, np.float64)
        self.scalars = cupy.zeros(8, np.float32)


@once_a_device
def _kernel(checked: bool, scaled: bool, skips: bool) -> Any:
    return instance("next_step", SOURCE, checked=checked, scaled=scaled, skips=skips)


def next_step(
    stepping: Stepping,
    lr: Any,
    betas: tuple[float, float],
    weight_decay: float,
    check: Any,
    scale: Any,
    skips: bool,
) -> Any:
    """Count a step, unless it is skipped; the numbers that its kernel reads, in device memory."""
    arguments = (
        *(check, scale, lr, stepping.steps, stepping.scalars),
        *(np.float64(betas[0]), np.float64(betas[1]), np.float64(weight_decay)),
    )
    _kernel(check is not None, scale is not None, skips)((1,), (1,), arguments)
    return stepping.scalars
