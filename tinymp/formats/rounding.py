"""Which way does a value between two representable numbers go, and who decides?

The choice is an immutable state in a context variable. Threads and tasks do not disturb each other,
and a graph node can keep the state of its forward pass and use it again in its backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any

from tinymp.formats.dtype import DType, dtype_of, float32

MODES = ("toward_zero", "nearest_even", "stochastic")


@dataclass(frozen=True, slots=True)
class RoundingState:
    """The modes in force: one for each format that was named, one for the others below float32."""

    narrow: str | None = None
    named: Mapping[DType, str] = field(default_factory=dict)

    def mode(self, dtype: DType) -> str:
        """Return the mode that rounds to ``dtype``."""
        named = self.named.get(dtype)
        if named is not None:
            return named
        if self.narrow is not None and dtype.significand_bits < float32.significand_bits:
            return self.narrow
        return dtype.default_rounding

    def choosing(self, mode: str, dtype: DType | str | None) -> RoundingState:
        """Return this state with one choice more; one for all formats replaces earlier ones."""
        check_mode(mode)
        if dtype is None:
            if not self.named:
                return _everywhere(mode)
            wide = {
                d: m
                for d, m in self.named.items()
                if d.significand_bits >= float32.significand_bits
            }
            return RoundingState(mode, wide)
        dtype = dtype_of(dtype)
        if not dtype.is_float:
            raise TypeError(
                f"rounding applies to floating-point formats, and {dtype.name} is none; "
                "name a float dtype, or none at all for every format below float32"
            )
        return RoundingState(self.narrow, {**self.named, dtype: mode})


@cache
def _everywhere(mode: str) -> RoundingState:
    """One mode for all formats below float32: the choice that training makes at every step."""
    return RoundingState(mode)


_active: ContextVar[RoundingState | None] = ContextVar("tinymp_rounding", default=None)
# A context variable would confine ``set_rounding`` to the thread that calls it.
_process_default = [RoundingState()]


def check_mode(mode: str) -> None:
    """Raise ValueError, listing the valid names, unless ``mode`` is a rounding mode."""
    if mode not in MODES:
        raise ValueError(f"unknown rounding mode {mode!r}; expected one of {', '.join(MODES)}")


def active_rounding() -> RoundingState:
    """Return the state in force: of the innermost ``with rounding``, or the process default."""
    return _active.get() or _process_default[0]


@contextmanager
def using_rounding(state: RoundingState) -> Iterator[RoundingState]:
    """Run a block under a state captured earlier, as recomputation does."""
    token = _active.set(state)
    try:
        yield state
    finally:
        _active.reset(token)


class rounding:
    """Round by ``mode`` inside the ``with`` block; the innermost choice wins.

    Blocks nest, and serve as decorators.

    Args:
        mode: ``"toward_zero"``, ``"nearest_even"`` or ``"stochastic"``.
        dtype: the format to round to; None means every format below float32.

    Raises:
        ValueError: for an unknown mode.
        TypeError: for a dtype that is not floating-point.
    """

    def __init__(self, mode: str, dtype: DType | str | None = None) -> None:
        self._mode = mode
        self._dtype = dtype
        self._tokens: list[Token[RoundingState | None]] = []

    def __enter__(self) -> RoundingState:
        state = active_rounding().choosing(self._mode, self._dtype)
        self._tokens.append(_active.set(state))
        return state

    def __exit__(self, *error: object) -> None:
        _active.reset(self._tokens.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def in_this_mode(*arguments: Any, **options: Any) -> Any:
            with rounding(self._mode, self._dtype):  # a new one each: calls may overlap
                return function(*arguments, **options)

        return in_this_mode


def set_rounding(mode: str, dtype: DType | str | None = None) -> None:
    """Set the process default, which holds in every thread outside ``with rounding`` blocks.

    Arguments and errors are those of ``rounding``.
    """
    _process_default[0] = _process_default[0].choosing(mode, dtype)
