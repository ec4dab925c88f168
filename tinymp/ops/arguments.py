"""What a function was given, held against what it takes, once it has failed.

Functions say what they take in their annotations, and check what these cannot say. A value of
another type often fails somewhere inside, with words of Python or NumPy that do not know the name
of the function. `explained` finds that value afterwards, so that a right call pays nothing for it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from tinymp.autograd import Tensor
from tinymp.formats import DType

P = ParamSpec("P")
R = TypeVar("R")

_NAMES = {
    Tensor: "a tensor",
    DType: "a dtype",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a name",
    types.NoneType: "None",
}


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, with errors that name it and the argument that is of a wrong type.

    What says what was given is the function's own error, and stays as it is.
    """

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except (
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            RuntimeError,
            OverflowError,
        ) as error:
            name, text = function.__name__, str(error)
            own = f"{name} was given" in text
            wrong = None if own else _misfit(function, arguments, options)
            if wrong is not None:
                raise TypeError(f"{name} was given {wrong}") from None
            if name in text:
                raise
            kind = ValueError if isinstance(error, OverflowError) else type(error)
            raise kind(f"{name}: {text}") from None

    return run


def _misfit(function: Any, arguments: Any, options: Any) -> str | None:
    """The first argument that is not what its annotation says, and what that is."""
    hints = get_type_hints(function)
    try:
        given = signature(function).bind(*arguments, **options)
    except TypeError:
        return None  # one too few or too many, of which Python says enough
    for parameter, value in given.arguments.items():
        kind = given.signature.parameters[parameter].kind
        values = value if kind is kind.VAR_POSITIONAL else (value,)
        hint = hints[parameter]
        if not all(_fits(v, hint) for v in values):
            return f"{parameter}={_shown(value)}; it must be {' or '.join(_named(hint))}"
    return None


def _fits(value: Any, hint: Any) -> bool:
    inner = get_args(hint)
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if get_origin(hint) in (tuple, list):
        each = inner[0]
        fixed = get_origin(hint) is tuple and inner[-1] is not ...
        right = isinstance(value, get_origin(hint)) and (not fixed or len(value) == len(inner))
        return right and all(_fits(v, each) for v in value)
    if hint is float:
        return isinstance(value, int | float | np.integer | np.floating)
    if hint is int:
        return isinstance(value, int | np.integer)
    return isinstance(value, get_origin(hint) or hint)


def _named(hint: Any) -> Iterator[str]:
    """The types that a hint allows, in words, each once."""
    words: dict[str, None] = {}
    for each in get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,):
        inner = get_args(each)
        if get_origin(each) in (tuple, list):
            many = _NAMES.get(inner[0], "a value").removeprefix("a ").removeprefix("an ") + "s"
            words[f"{'several' if inner[-1] is ... else len(inner)} {many}"] = None
        else:
            words[_NAMES.get(each, getattr(each, "__name__", str(each)))] = None
    return iter(words)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype.name} tensor of shape {value.shape}"
    if isinstance(value, np.ndarray):
        return f"a NumPy array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
