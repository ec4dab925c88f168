"""Which kernel serves an operation? A twin from the tables, else the rule itself, traced.

Both functions give storage, or NotImplemented where no kernel serves: then the rule runs on CuPy's
arrays. Arguments are what the rule takes, with tensors as `Packed` and residuals as arrays.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices.kernels.compiler import KernelError
from tinymp.devices.kernels.elementwise import Baked, elementwise_kernel
from tinymp.devices.kernels.tracing import Untraceable
from tinymp.devices.kernels.twin import FORWARD, GRADIENTS, RESIDUALS, Target, Twin, load

__all__ = [
    "Target",
    "decode_words",
    "elementwise",
    "encode_words",
    "forward",
    "gradients",
    "needs",
    "residuals",
]

#: Operations whose kernels do not compile here; each was warned about once.
_broken: set[str] = set()


def forward(op: Any, arguments: Sequence[Any], attributes: dict[str, Any], target: Target) -> Any:
    """The result of an operation, followed by its residuals if it has any."""
    if op.name in _broken:
        return NotImplemented
    try:
        if op.name in FORWARD:
            twin = load(FORWARD[op.name])
            out = twin(*arguments, target=target, **attributes)
            if out is not NotImplemented:
                return out
        if op.forward_on == "values" and not op.residuals:
            shown = [
                x.storage if op.input(i) in op.undecoded else x for i, x in enumerate(arguments)
            ]
            return elementwise(op.name, op.forward, shown, attributes, target)
    except KernelError as error:
        _give_up(op.name, error)
    return NotImplemented


def gradients(
    op: Any, inputs: tuple[str, ...], g: Any, needed: Mapping[str, Any], targets: Sequence[Target]
) -> Any:
    """The gradients of several inputs, as a tuple, by the twin that serves them together.

    `needed`: what is kept, by name; None stands for what the rules of these inputs do not ask for.
    """
    if op.name in _broken or op.name not in GRADIENTS:
        return NotImplemented
    served, where = GRADIENTS[op.name]
    wanted = dict(zip(inputs, targets, strict=True))
    asked = {name: needed.get(name) for name in _asked_by(where)}
    try:
        found = load(where)(g, targets=tuple(wanted.get(name) for name in served), **asked)
    except KernelError as error:
        _give_up(op.name, error)
        return NotImplemented
    if found is NotImplemented:
        return NotImplemented
    by_name = dict(zip(served, found, strict=True))
    return tuple(by_name[name] for name in inputs)


def encode_words(*arguments: Any) -> Any:
    """The words of values: see `kernels.casts`; NotImplemented where the rule must do it."""
    return _cast("casts:encode_words", arguments)


def decode_words(*arguments: Any) -> Any:
    """The values of words: see `kernels.casts`; NotImplemented where the rule must do it."""
    return _cast("casts:decode_words", arguments)


def _cast(where: str, arguments: tuple[Any, ...]) -> Any:
    if where in _broken:
        return NotImplemented
    try:
        return load(where)(*arguments)
    except KernelError as error:
        _give_up(where, error)
        return NotImplemented


def needs(name: str) -> tuple[str, ...]:
    """What is kept for the twin of a gradient that does not work on the rule's residuals."""
    return _asked_by(GRADIENTS[name][1]) if name in RESIDUALS else ()


def residuals(name: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the residuals that the kernel of an operation leaves, `own` being its rule's."""
    return RESIDUALS.get(name, own)


@cache
def _asked_by(where: str) -> tuple[str, ...]:
    twin: Twin = load(where)
    names = tuple(inspect.signature(twin).parameters)
    return tuple(name for name in names[1:] if name != "targets")


def elementwise(
    name: str,
    rule: Any,
    arguments: Sequence[Any],
    attributes: Mapping[str, Any],
    target: Target,
) -> Any:
    """An elementwise rule on `arguments`, by the kernel that is made from it."""
    arrays: list[Any] = []
    numbers: list[float] = []
    try:
        forms = tuple([_form(x, arrays, numbers) for x in arguments])
        named = tuple([(key, _form(x, arrays, numbers)) for key, x in attributes.items()])
        kernel = elementwise_kernel(name, rule, forms, named, target)
        if kernel is None or not arrays:
            return NotImplemented
        if kernel.identity is not None and forms[kernel.identity] is target.dtype:
            return arguments[kernel.identity].storage
        return kernel(arrays, numbers)
    except (Untraceable, TypeError):  # a shape too large, or an attribute that has no hash
        return NotImplemented


def _form(x: Any, arrays: list[Any], numbers: list[float]) -> Any:
    """The format of an argument; its array or number is appended to those of the call."""
    array = getattr(x, "storage", x)
    if hasattr(array, "strides"):  # a Packed, or an array that passes undecoded
        arrays.append(array)
        return x.dtype
    if isinstance(x, np.generic):
        x = x.item()
    if type(x) is float or (type(x) is int and abs(x) < 2**53):
        numbers.append(float(x))
        return float
    return Baked(x)


def _give_up(name: str, error: KernelError) -> None:
    _broken.add(name)
    warnings.warn(
        f"{error}\nthe operation {name!r} runs by its NumPy-style rule on the GPU instead, slower",
        RuntimeWarning,
        stacklevel=2,
    )
