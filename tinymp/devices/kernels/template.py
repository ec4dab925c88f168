"""A kernel is a template: formats, rounding modes and sizes are filled in when it is compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

from tinymp.devices.kernels.compiler import kernel
from tinymp.devices.kernels.words import declarations

Prepared = TypeVar("Prepared")


def instance(name: str, source: str, **settings: Any) -> Any:
    """The kernel `name` of a CUDA C++ `source`, in which the `settings` are known by their names.

    A DType becomes a type (`typedef float16 X;`), a rounding mode a constant of type `Rounding`, an
    integer or a bool a constant. Compiling takes a good part of a second: call it `once_a_device`.
    """
    return kernel(name, filled(source, **settings))


def once_a_device(prepare: Callable[..., Prepared]) -> Callable[..., Prepared]:
    """Remember what `prepare` returns for the same arguments while the same GPU is current."""

    @cache
    def prepared(device: int, *arguments: Any) -> Prepared:
        return prepare(*arguments)

    @wraps(prepare)
    def on_current_device(*arguments: Any) -> Prepared:
        import cupy

        return prepared(cupy.cuda.runtime.getDevice(), *arguments)

    return on_current_device


def filled(source: str, **settings: Any) -> str:
    """`source` with the declarations of its `settings` in front of it."""
    formats = [value for value in settings.values() if not isinstance(value, str | int)]
    lines = [_declaration(name, value) for name, value in settings.items()]
    return "\n".join([declarations(*formats), *lines, source])


def _declaration(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return f"constexpr bool {name} = {str(value).lower()};"
    if isinstance(value, int):
        return f"constexpr int {name} = {value};"
    if isinstance(value, str):
        return f"constexpr Rounding {name} = {value};"
    return f"typedef {value.name} {name};"
