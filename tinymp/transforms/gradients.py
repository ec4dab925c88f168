"""Gradients of functions, built on backward."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any

from tinymp.autograd.backward import run_backward
from tinymp.autograd.modes import NO_SECOND_DERIVATIVES, enable_grad
from tinymp.autograd.tensor import Tensor
from tinymp.formats import gradient_dtype

Arguments = int | tuple[int, ...]
#: Whether a function is running whose gradient is taken.
_inside: ContextVar[bool] = ContextVar("tinymp_inside_grad", default=False)


def value_and_grad(function: Callable[..., Tensor], argnums: Arguments = 0) -> Callable[..., Any]:
    """A function that returns the value of `function` and its gradient, as in JAX.

    `function` must return a tensor of one element. The gradient is with respect to the positional
    argument `argnums`, a tensor of its dtype and shape; for a tuple of numbers, a tuple of tensors.
    An argument that the result does not depend on gets zeros. No `grad` attribute is touched.

    Raises:
        TypeError: a chosen argument is not a floating-point tensor, or the result is no tensor.
        NotImplementedError: inside another function whose gradient is taken, of an argument that
            belongs to its graph: that would be a second derivative.
    """
    chosen = (argnums,) if isinstance(argnums, int) else argnums

    @wraps(function)
    def with_gradient(*arguments: Any, **options: Any) -> Any:
        inputs = []
        replaced = list(arguments)
        for i in chosen:
            if i >= len(arguments) or not isinstance(arguments[i], Tensor):
                given = type(arguments[i]).__name__ if i < len(arguments) else "nothing"
                raise TypeError(
                    f"the gradient with respect to argument {i} was asked for, but {given} was "
                    "given there; it must be a floating-point tensor"
                )
            if _inside.get() and arguments[i].requires_grad:
                raise NotImplementedError(
                    f"the gradient with respect to argument {i} was asked for inside a function "
                    f"whose own gradient is taken, but {NO_SECOND_DERIVATIVES}. Where none is "
                    "wanted, pass argument.detach()"
                )
            replaced[i] = arguments[i].detach().requires_grad_()
            inputs.append(replaced[i])
        token = _inside.set(True)
        try:
            with enable_grad():
                value = function(*replaced, **options)
        finally:
            _inside.reset(token)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"the function returned a {type(value).__name__}; it must return a tensor of one "
                "element, such as a loss"
            )
        found = run_backward(value, inputs=inputs) if value.requires_grad else [None] * len(inputs)
        gradients = tuple(_zeros(x) if g is None else g for g, x in zip(found, inputs, strict=True))
        return value.detach(), gradients[0] if isinstance(argnums, int) else gradients

    return with_gradient


def _zeros(x: Tensor) -> Tensor:
    dtype = gradient_dtype(x.dtype)
    return Tensor(x._device.xp.zeros(x.shape, dtype.storage), dtype)


def grad(function: Callable[..., Tensor], argnums: Arguments = 0) -> Callable[..., Any]:
    """A function that returns the gradient of `function`; see `value_and_grad`."""
    both = value_and_grad(function, argnums)

    @wraps(function)
    def gradient_only(*arguments: Any, **options: Any) -> Any:
        return both(*arguments, **options)[1]

    return gradient_only
