"""Is a gradient the derivative? Backward against central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymp.autograd import Tensor, enable_grad, no_grad, run_backward
from tinymp.formats import float64
from tinymp.ops import tensor

# (f(x+h) - f(x-h)) / 2h is off by h²·f'''/6 for the cut series and by about u·f/h for rounding f.
# The cube root of u = 2^-53 balances the two, at about 2^-35.
STEP = 2.0**-18


def gradcheck(
    function: Callable[..., Tensor],
    inputs: Tensor | Sequence[Any],
    *,
    eps: float = STEP,
    rtol: float = 1e-6,
    atol: float = 1e-7,
) -> bool:
    """Compare the gradients that backward computes with central differences of the function.

    Every floating-point tensor among `inputs` is taken in float64, whatever its dtype, and its
    gradient is checked; whatever else is there is passed on. A result with several elements is
    weighted with fixed random numbers and summed, so that one pass checks all of them. No `grad` is
    touched.

    Args:
        function: takes `inputs`, returns a floating-point tensor. It must be differentiable there
            (not at a kink of `relu`), and compute the same every time it is called.
        inputs: a tensor, or a sequence of tensors and other arguments.
        eps: step, times the larger of 1 and the size of the element that is changed.
        rtol, atol: a gradient passes within `atol` + `rtol`·|difference quotient|.

    Returns:
        True.

    Raises:
        TypeError: no input is a floating-point tensor, or the result is none.
        AssertionError: a gradient that differs; says which input and element, and by how much.
    """
    arguments = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    positions = [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.dtype.is_float]
    if not positions:
        raise TypeError(
            "gradcheck was given no floating-point tensor among its inputs, so there is no "
            "gradient to check"
        )
    for i in positions:
        arguments[i] = arguments[i].detach().to(float64).clone().requires_grad_()
    leaves: list[Tensor] = [arguments[i] for i in positions]

    with enable_grad():
        result = function(*arguments)
    if not isinstance(result, Tensor) or not result.dtype.is_float:
        given = result.dtype.name if isinstance(result, Tensor) else type(result).__name__
        raise TypeError(f"gradcheck: the function returned {given}; it must return a float tensor")
    weights = np.random.default_rng(0).standard_normal(result.shape)
    found: list[Tensor | None] = [None] * len(leaves)
    if result.requires_grad:
        found = run_backward(result, tensor(weights, result.dtype, result.device), inputs=leaves)

    def weighted(position: int, values: np.ndarray[Any, Any]) -> float:
        changed = list(arguments)
        changed[position] = tensor(values, float64, leaves[0].device)
        with no_grad():
            return float((function(*changed).numpy() * weights).sum())

    for position, leaf, gradient in zip(positions, leaves, found, strict=True):
        backward = np.zeros(leaf.shape) if gradient is None else gradient.numpy()
        _compare(position, leaf.numpy(), backward, weighted, eps, rtol, atol)
    return True


def _compare(
    position: int,
    values: np.ndarray[Any, Any],
    backward: np.ndarray[Any, Any],
    weighted: Callable[[int, np.ndarray[Any, Any]], float],
    eps: float,
    rtol: float,
    atol: float,
) -> None:
    """Hold the gradient of one input against difference quotients, element by element."""
    for place in np.ndindex(values.shape):
        step = eps * max(1.0, abs(float(values[place])))
        above, below = values.copy(), values.copy()
        above[place] += step
        below[place] -= step
        # The steps that were really taken: adding a step to a value rounds.
        taken = float(above[place] - below[place])
        quotient = (weighted(position, above) - weighted(position, below)) / taken
        given = float(backward[place])
        if not abs(given - quotient) <= atol + rtol * abs(quotient):
            raise AssertionError(
                f"gradient of input {position} at {place}, where it is {values[place]!s}: backward "
                f"gives {given}, the difference quotient {quotient}"
            )
