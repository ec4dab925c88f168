"""Everything that is promised of an operation, checked in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.formats import DType, gradient_dtype
from tinymp.ops import tensor
from tinymp.testing.rounded import assert_rounded

Array = np.ndarray[Any, Any]
# Of float64 inputs and the gradient of the result: the value, and a gradient for each input.
Oracle = Callable[[list[Array], Array | None], tuple[Array, list[Array | None]]]
# Of float64 inputs, the value and the result's gradient: bounds on the errors of computing.
Errors = Callable[[list[Array], Array, Array], Sequence[float | Array]]


def check_operation(
    function: Callable[..., Tensor],
    oracle: Oracle,
    inputs: Sequence[Tensor],
    dtype: DType,
    errors: Errors | None = None,
) -> None:
    """Check shape, dtype and value of a result, and shape, dtype and value of every gradient.

    The oracle computes in float64 from the exact values of the inputs. Results and gradients must
    be what it says, off by at most `errors` before they are rounded once (see `assert_rounded`).

    Args:
        function: the operation, on tensors.
        oracle: what it should compute.
        inputs: leaves; those that require a gradient get it checked. None counts as zeros.
        dtype: dtype of the result.
        errors: bounds on the error of the value, then of each input's gradient, before rounding;
            all 0 if left out.

    Raises:
        AssertionError: says what differs.
    """
    result = function(*inputs)
    values = [x.numpy() for x in inputs]
    wide = [v.astype(np.float64) if v.dtype.kind == "f" else v for v in values]
    exact, gradients = oracle(wide, None)
    assert result.shape == exact.shape, f"result has shape {result.shape}, expected {exact.shape}"
    weights = np.random.default_rng(0).standard_normal(result.shape)
    differentiable = any(x.requires_grad for x in inputs) and result.dtype.is_float
    gradient = tensor(weights, gradient_dtype(result.dtype)) if differentiable else None
    seen = None if gradient is None else gradient.numpy().astype(np.float64)

    if seen is not None:
        exact, gradients = oracle(wide, seen)
    bounds = [0.0] * (1 + len(inputs))
    if errors is not None:
        bounds = list(errors(wide, exact, np.zeros(()) if seen is None else seen))  # type: ignore[arg-type]
    assert_rounded(result, exact, dtype, bounds[0])
    if gradient is None:
        return
    result.backward(gradient)
    for i, (x, expected) in enumerate(zip(inputs, gradients, strict=True)):
        if x.requires_grad:
            assert expected is not None, f"the oracle has no gradient for input {i}"
            if x.grad is None:
                assert not expected.any(), f"input {i} got no gradient, expected {expected}"
                continue
            assert_rounded(
                x.grad, expected, gradient_dtype(x.dtype), bounds[1 + i], f"gradient of input {i}"
            )
