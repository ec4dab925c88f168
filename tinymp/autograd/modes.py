"""What the dispatcher asks the context: is a graph recorded, who casts, who watches?"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from functools import wraps
from typing import Any, Protocol

GRAD_ENABLED: ContextVar[bool] = ContextVar("tinymp_grad_enabled", default=True)


class Autocast(Protocol):
    """What the dispatcher knows of autocast; `amp.autocast` is the one that stands behind it."""

    def prepare(self, op: Any, operands: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        """The operands of `op`, cast where its category wants it, and the dtype of its result.

        The dtype is None where the operands decide.
        """


#: What is said to those who ask for a derivative of a gradient.
NO_SECOND_DERIVATIVES = (
    "gradients have no graph of their own, so there are no second derivatives: gradient rules "
    "compute on plain arrays, from what they kept of the first pass. For a Hessian times a vector "
    "v take the difference of two gradients, in float64: (grad(x + h*v) - grad(x - h*v)) / (2*h), "
    "with h about 2**-18"
)
AUTOCAST: ContextVar[Autocast | None] = ContextVar("tinymp_autocast", default=None)


class Observer(Protocol):
    """Someone who watches a run, such as a trace of `inspect`: sees everything, changes nothing."""

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Any
    ) -> None:
        """An operation ran; `result` is its tensor, with `result.node` if it was recorded."""

    def backward(self, node: Any, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        """`node` turned the gradient `g` into one for each (source, gradient); all are storage."""


OBSERVERS: ContextVar[tuple[Observer, ...]] = ContextVar("tinymp_observers", default=())


class Capture(Protocol):
    """Someone who records what a function does, to repeat it; see `transforms.capture`."""

    def ask_again(self, question: Callable[..., Any], x: Any, details: Any, answer: Any) -> None:
        """The function went on as `question(x, *details)` was answered."""

    def write(self, target: Any, index: Any, values: Any) -> None:
        """The function wants to change a tensor in place."""

    def shared(self, x: Any, origin: Any) -> None:
        """The function made a tensor on the storage of another one."""

    def called(self, module: Any) -> None:
        """The function called a module."""

    def refuse(self, what: str) -> None:
        """Raise an error: the function did what cannot be repeated."""


CAPTURE: ContextVar[Capture | None] = ContextVar("tinymp_capture", default=None)


def decide(question: Callable[..., Any], x: Any, *details: Any) -> Any:
    """`question(x, *details)`: an answer by the values of a tensor, which decides what is done."""
    if (capture := CAPTURE.get()) is None:
        return question(x, *details)
    token = CAPTURE.set(None)  # it may look at the values
    try:
        answer = question(x, *details)
    finally:
        CAPTURE.reset(token)
    capture.ask_again(question, x, details, answer)
    return answer


def not_for_capture(what: str) -> None:
    """Say that something is done that operations alone do not repeat."""
    if (capture := CAPTURE.get()) is not None:
        capture.refuse(what)


class _GradMode:
    """Sets the grad mode in a `with` block or a decorated function; may be nested and reused."""

    enabled: bool

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(GRAD_ENABLED.set(self.enabled))

    def __exit__(self, *error: object) -> None:
        GRAD_ENABLED.reset(self._tokens.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def in_this_mode(*arguments: Any, **options: Any) -> Any:
            with type(self)():  # a new one each: calls may overlap, in threads or recursion
                return function(*arguments, **options)

        return in_this_mode


class no_grad(_GradMode):
    """Context or decorator in which operations record no graph, as in PyTorch."""

    enabled = False


class enable_grad(_GradMode):
    """Context or decorator that records the graph again inside `no_grad`, as in PyTorch."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether operations on tensors that require a gradient record the graph at this moment."""
    return GRAD_ENABLED.get()
