"""Running rules and casts without NumPy's floating-point warnings."""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar
from typing import Any

import numpy as np

_IS_QUIET = ContextVar("tinymp_is_quiet", default=False)


class _QuietContext(threading.local):
    """Per thread, a context in which NumPy's error state is `ignore`, and all else is as at first.

    Overflow, NaN and division by zero are results here, not surprises: FP16 training meets them
    while it looks for a loss scale. Entering `np.errstate` for each rule would cost more than a
    small rule.
    """

    def __init__(self) -> None:
        context = Context()
        context.run(np.seterr, all="ignore")
        context.run(_IS_QUIET.set, True)
        self.run = context.run


#: `QUIET.run(function, *arguments)` is `quietly`, without the cost of one more call. It cannot be
#: nested.
QUIET = _QuietContext()


def quietly(function: Any, *arguments: Any, **attributes: Any) -> Any:
    """Result of `function(*arguments, **attributes)` with NumPy's warnings off.

    May be called by a function that runs quietly itself.
    """
    if _IS_QUIET.get():
        return function(*arguments, **attributes)
    return QUIET.run(function, *arguments, **attributes)
