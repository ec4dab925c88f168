"""Whether operations record a graph: `no_grad` and `enable_grad`."""

from __future__ import annotations

from contextlib import ContextDecorator
from contextvars import ContextVar, Token

GRAD_ENABLED: ContextVar[bool] = ContextVar("tinymp_grad_enabled", default=True)


class _GradMode(ContextDecorator):
    """Sets the grad mode in a `with` block or a decorated function; may be nested and reused."""

    enabled: bool

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(GRAD_ENABLED.set(self.enabled))

    def __exit__(self, *error: object) -> None:
        GRAD_ENABLED.reset(self._tokens.pop())


class no_grad(_GradMode):
    """Context or decorator in which operations record no graph, as in PyTorch."""

    enabled = False


class enable_grad(_GradMode):
    """Context or decorator that records the graph again inside `no_grad`, as in PyTorch."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require a gradient record the graph at this moment."""
    return GRAD_ENABLED.get()
