"""Gradient checkpointing: what backward needs is computed again then, not kept until then.

The first run of the function records its graph as ever, but each node forgets what it saved. When
backward asks for it, the function runs a second time, in the circumstances of the first: the same
random numbers, rounding, accumulator and autocast. Its operations come in the same order, so what
the second graph saved belongs to the nodes of the first.

Source: Chen, Xu, Zhang & Guestrin, Training Deep Nets with Sublinear Memory Cost (arXiv
1604.06174), section 4.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import copy
from functools import partial
from typing import Any, ParamSpec, TypeVar

from tinymp.autograd.modes import AUTOCAST, GRAD_ENABLED, OBSERVERS, enable_grad
from tinymp.autograd.tensor import Tensor
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.formats import active_rounding, using_rounding
from tinymp.numerics.accumulation import active_accumulator, using_accumulator

P = ParamSpec("P")
R = TypeVar("R")
_SAME = "it must do the same both times: let it depend on its arguments and parameters alone"


def checkpoint(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """`function(*arguments, **options)`, which keeps none of its activations for backward.

    Backward runs the function again, once, and has the activations of all its operations then: the
    price is a second forward pass, the gain that of several functions only one has them at a time.
    Results and gradients are the same, bit for bit, dropout and stochastic rounding included.
    Parameters that the function uses get their gradients; arguments and results may be anything.

        for block in self.blocks:
            x = mp.checkpoint(block, x)

    The function must do the same both times: it may depend on its arguments and parameters, not on
    what changes until backward. Under autocast it casts its parameters for itself: where one is
    used outside as well, the two gradients meet in float32.

    Raises:
        TypeError: `function` cannot be called.
        RuntimeError: in backward, if the second run was not like the first, or if a tensor that
            the function used has been changed in place in between.
    """
    if not callable(function):
        raise TypeError(
            f"checkpoint was given a {type(function).__name__}; it takes a function and then its "
            "arguments: checkpoint(block, x), not checkpoint(block(x))"
        )
    if not GRAD_ENABLED.get():
        return function(*arguments, **options)
    result: R = _Rerun(partial(function, *arguments, **options)).first()
    return result


class _Rerun:
    """A function that runs twice in the same circumstances, and what its second run saved."""

    def __init__(self, function: partial[Any]) -> None:
        self.function = function
        self.random = get_rng_state()
        self.rounding = active_rounding()
        self.accumulator = active_accumulator()
        self.autocast = AUTOCAST.get()
        #: Of each operation of the first run: what it was, and the versions of its operands.
        self.steps: list[tuple[str, list[Any]]] = []
        #: Of each operation of the second run: what it saved, until its node comes for it; or how
        #: to recall that, where a checkpoint inside this one had it forgotten.
        self.saved: list[Any] = []

    def first(self) -> Any:
        """The result, of a graph that saves nothing but what the function was given."""
        arguments = [*self.function.args, *self.function.keywords.values()]

        def forget(name: str, versions: list[Any], node: Any) -> None:
            if node is not None and node.saved:
                node.saved = {"arguments": arguments}
                node.recall = partial(self.recalled, len(self.steps))
            self.steps.append((name, versions))

        return self._run(forget)

    def again(self) -> None:
        """Run the function a second time and collect what its operations save."""

        saved: list[Any] = []

        def collect(name: str, versions: list[Any], node: Any) -> None:
            step = len(saved)
            expected, then = self.steps[step] if step < len(self.steps) else ("its end", [])
            if name != expected:
                raise RuntimeError(
                    f"checkpoint ran its function again, and it came to {name} where {expected} "
                    f"was the first time; {_SAME}"
                )
            for (version, count), (earlier, counted) in zip(versions, then, strict=True):
                if version is earlier and count != counted:
                    raise RuntimeError(
                        f"checkpoint has to run {name} again, but an operand has been changed in "
                        f"place since (version {counted}, now {count}); change it after backward, "
                        "or change a copy"
                    )
            saved.append(None if node is None else node.recall or node.saved)

        random = get_rng_state()
        set_rng_state(self.random)
        try:
            with ExitStack() as circumstances:
                circumstances.enter_context(enable_grad())
                circumstances.enter_context(using_rounding(self.rounding))
                circumstances.enter_context(using_accumulator(self.accumulator))
                self._run(collect)
        finally:
            set_rng_state(random)
        if len(saved) < len(self.steps):
            raise RuntimeError(
                f"checkpoint ran its function again, and it ended where "
                f"{self.steps[len(saved)][0]} was the first time; {_SAME}"
            )
        self.saved = saved

    def recalled(self, step: int) -> dict[str, Any]:
        """What the operation of this step saved, by name: computed again when first asked for."""
        if not self.saved:
            self.again()
        found, self.saved[step] = self.saved[step], None
        saved: dict[str, Any] = found() if callable(found) else found
        return saved

    def _run(self, seen: Callable[[str, list[Any], Any], None]) -> Any:
        autocast: Any = copy(self.autocast)
        if autocast is not None:
            autocast.cache = {}  # casts of parameters that others made are not there again
        cast = AUTOCAST.set(autocast)
        # In front: a checkpoint inside this one has had its turn with a node before.
        watched = OBSERVERS.set((_Watch(seen), *OBSERVERS.get()))
        try:
            return self.function()
        finally:
            OBSERVERS.reset(watched)
            AUTOCAST.reset(cast)


class _Watch:
    """An observer that reports each operation."""

    def __init__(self, seen: Callable[[str, list[Any], Any], None]) -> None:
        self.seen = seen

    def forward(
        self, contract: Any, operands: tuple[Any, ...], attributes: dict[str, Any], result: Tensor
    ) -> None:
        name = f"{contract.op.name} of {result.dtype.name}{list(result.shape)}"
        versions = [(x.version, x.version.count) for x in operands if isinstance(x, Tensor)]
        self.seen(name, versions, result.node)

    def backward(self, node: Any, g: Any, gradients: list[tuple[Any, Any]]) -> None:
        pass
