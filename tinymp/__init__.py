"""tinymp: a small autograd engine, written to be read, for learning mixed precision training."""

from __future__ import annotations

from tinymp.autograd import Tensor, enable_grad, grad, is_grad_enabled, no_grad, value_and_grad
from tinymp.devices import manual_seed
from tinymp.formats import (
    DType,
    bfloat16,
    finfo,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int64,
    rounding,
    set_rounding,
)
from tinymp.formats import bool_ as bool
from tinymp.ops import *  # noqa: F403
