"""The ways that a function goes: what it was seen to do, by which kind of call, written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from tinymp.autograd import Tensor, is_grad_enabled
from tinymp.autograd.contract import Contract
from tinymp.autograd.modes import AUTOCAST
from tinymp.autograd.tensor import Kind
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.formats import active_rounding
from tinymp.numerics.accumulation import active_accumulator
from tinymp.numerics.quiet import QUIET
from tinymp.transforms.recorder import Recorder, Write
from tinymp.transforms.writer import Program, Writer

Array = Any

_MOST = 8  # ways of one function that are remembered, such as shapes of its arguments


@dataclass(slots=True)
class Way:
    """A program, and when it holds.

    Attributes:
        program: what is done.
        kind, size: of its result.
        circumstances: those of the calls that it serves.
        kinds: tensors from outside, and the kind that each must be of.
        modes: modules, and the `training` that each must have.
        contract: the program as one operation, once somebody has made one of it.
    """

    program: Program
    kind: Kind
    size: int
    circumstances: Any
    kinds: list[tuple[Tensor, Kind]]
    modes: list[tuple[Any, bool]]
    contract: Contract | None = None

    def serves(self, circumstances: Any) -> bool:
        """Whether the function would go this way."""
        if self.circumstances != circumstances:
            return False
        for x, kind in self.kinds:
            if x.kind is not kind:
                return False
        for module, training in self.modes:
            if module.training != training:
                return False
        return True


class Ways:
    """A function, and the ways that it was seen to go.

    `in_float32`: whose gradients programs give as float32 values; see `Program.backward`.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        in_float32: Callable[[Tensor], bool] | None = None,
    ) -> None:
        if not callable(function):
            raise TypeError(
                f"capture was given a {type(function).__name__}; it takes a function: "
                "capture(model), not capture(model(x))"
            )
        self.function = function
        self._in_float32 = in_float32
        self._known: list[Way] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": []}  # a copy's function may use other parameters

    @property
    def source(self) -> str:
        """The program that was written last, as Python: empty before the first one."""
        return self._known[0].program.source if self._known else ""

    def of_call(self, arguments: tuple[Tensor, ...]) -> Way:
        """The way that a call goes; the function is watched if it is a new one.

        Raises:
            TypeError: an argument is no tensor.
            RuntimeError: what the function does cannot be repeated.
        """
        for x in arguments:
            if not isinstance(x, Tensor):
                raise TypeError(
                    f"a captured function was called with a {type(x).__name__}; its arguments are "
                    "tensors; let the function itself use anything else, or capture another one "
                    "for it"
                )
        if AUTOCAST.get() is not None:
            raise RuntimeError(
                "a captured function was called under autocast, which keeps casts that are made "
                "outside of it; enter autocast inside of the function"
            )
        circumstances = (
            active_rounding(),
            active_accumulator(),
            is_grad_enabled(),
            [(x.kind, x._array.shape, x._array.strides) for x in arguments],
        )
        for way in self._known:
            if way.serves(circumstances):
                return way
        way = self._new(arguments, circumstances)
        self._known = [way, *self._known[: _MOST - 1]]
        return way

    def _new(self, arguments: tuple[Tensor, ...], circumstances: Any) -> Way:
        """Watch the function, and write down what it does."""
        random = get_rng_state()
        try:
            recorder = Recorder(arguments)
            record = recorder.record(self.function)
            writer = Writer(record, self._names(arguments), self._in_float32)
            program = QUIET.run(writer.program)
            if get_rng_state() != random:
                recorder.refuse("drew random numbers, for dropout or stochastic rounding")
        finally:
            set_rng_state(random)
        written = [step.target for step in record.steps if isinstance(step, Write)]
        watched = {id(x): x for x in (*program.from_outside, *written)}
        kinds = [(x, x.kind) for x in watched.values()]
        result, modes = record.result, list(record.modes.items())
        return Way(program, result.kind, result.size, circumstances, kinds, modes)

    def _names(self, arguments: Sequence[Tensor]) -> list[str]:
        """What the function calls its arguments; empty if nothing."""
        try:
            names = list(signature(self.function).bind(*arguments).arguments)
        except (TypeError, ValueError):  # it does not tell
            names = []
        return names if len(names) == len(arguments) else [""] * len(arguments)
