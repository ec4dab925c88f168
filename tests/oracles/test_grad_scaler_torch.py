"""GradScaler against torch.amp.GradScaler, on the same drawn programs of calls."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.amp import GradScaler, LossScaleWarning
from tinymp.optim import SGD

torch = pytest.importorskip("torch")

# Optimizers 0 and 1 have two float32 parameters each, optimizer 2 a float16 one.
SHAPES = [[(2,), (1,)], [(2,), (1,)], [(2,)]]
HALF = 2


class Ours:
    """A scaler of tinymp with three optimizers."""

    def __init__(self, **options: Any) -> None:
        self.scaler = GradScaler("cpu", **options)
        self.parameters = [
            [mp.zeros(shape, dtype=self.dtype(i), requires_grad=True) for shape in shapes]
            for i, shapes in enumerate(SHAPES)
        ]
        self.optimizers: Any = [SGD(parameters, lr=1.0) for parameters in self.parameters]

    def dtype(self, i: int) -> Any:
        return mp.float16 if i == HALF else mp.float32

    def tensor(self, values: Any, dtype: Any = None) -> Any:
        return mp.tensor(np.array(values, np.float32), dtype)

    def numbers(self, tensor: Any) -> Any:
        return tensor.numpy()

    def restart(self) -> None:
        self.scaler = copy.deepcopy(self.scaler)


class Theirs(Ours):
    """The same with PyTorch."""

    def __init__(self, **options: Any) -> None:
        self.scaler = torch.amp.GradScaler("cpu", **options)
        self.parameters = [
            [torch.zeros(shape, dtype=self.dtype(i), requires_grad=True) for shape in shapes]
            for i, shapes in enumerate(SHAPES)
        ]
        self.optimizers = [torch.optim.SGD(parameters, lr=1.0) for parameters in self.parameters]

    def dtype(self, i: int) -> Any:
        return torch.float16 if i == HALF else torch.float32

    def tensor(self, values: Any, dtype: Any = None) -> Any:
        return torch.tensor(np.array(values, np.float32), dtype=dtype)

    def numbers(self, tensor: Any) -> Any:
        return tensor.detach().float().numpy().copy()


def perform(side: Ours, call: tuple[Any, ...]) -> Any:
    """Make one call; the exception it raised, or what it returned of interest."""
    name, *arguments = call
    scaler = side.scaler
    try:
        if name == "scale":
            loss, nested = side.tensor([1.5]), [side.tensor([0.5]), (side.tensor([3.0]),)]
            scaled = scaler.scale(nested)
            return [side.numbers(x) for x in (scaler.scale(loss), scaled[0], scaled[1][0])]
        if name == "gradient":
            i, values = arguments
            for parameter in side.parameters[i]:
                part = values[: parameter.shape[0]]
                parameter.grad = side.tensor(part, side.dtype(i))
        elif name == "no gradient":
            side.optimizers[arguments[0]].zero_grad()
        elif name == "unscale_":
            scaler.unscale_(side.optimizers[arguments[0]])
        elif name == "step":
            scaler.step(side.optimizers[arguments[0]])
        elif name == "step with closure":
            scaler.step(side.optimizers[0], closure=lambda: 1.0)
        elif name == "update":
            scaler.update(*arguments)
        elif name == "update with tensor":
            scaler.update(side.tensor(arguments[0]))
        elif name == "reload":
            scaler.load_state_dict(scaler.state_dict())
        elif name == "load empty":
            scaler.load_state_dict({})
        elif name == "restart":
            side.restart()
        elif name == "set interval":
            scaler.set_growth_interval(arguments[0])
        else:
            assert name == "set factors"
            scaler.set_growth_factor(arguments[0])
            scaler.set_backoff_factor(arguments[1])
    except (RuntimeError, ValueError, AssertionError) as error:
        return error
    return None


def visible_state(side: Ours) -> list[Any]:
    """Everything that a call may change."""
    gradients = [p.grad for parameters in side.parameters for p in parameters]
    parameters = [p for parameters in side.parameters for p in parameters]
    return [
        side.scaler.state_dict(),
        [None if gradient is None else side.numbers(gradient) for gradient in gradients],
        [side.numbers(parameter) for parameter in parameters],
    ]


scale_values = st.integers(-20, 100).map(lambda k: 2.0**k) | st.floats(2.0**-20, 2.0**100, width=32)
gradient_values = st.sampled_from([0.0, 1.0, -3.0, 2.0**-24, 1e30, np.inf, -np.inf, np.nan]) | (
    st.floats(width=32, allow_nan=False, allow_infinity=False)
)
finite_gradients = st.lists(st.sampled_from([1.0, -0.5, 8.0]), min_size=2, max_size=2)
which = st.sampled_from([0, 0, 0, 1, 1, HALF])
ordered = st.sampled_from([0, 0, 0, 1])  # mostly what a training loop does
calls = st.one_of(
    st.just(("scale",)),
    st.tuples(st.just("gradient"), which, st.lists(gradient_values, min_size=2, max_size=2)),
    st.tuples(st.just("no gradient"), which),
    st.tuples(st.just("unscale_"), which),
    st.tuples(st.just("step"), which),
    st.just(("step with closure",)),
    st.just(("update",)),
    st.tuples(st.just("update"), scale_values),
    # One element without dimensions, or two: PyTorch itself trips over one with a dimension.
    st.tuples(st.just("update with tensor"), scale_values | st.just([2.0, 4.0])),
    st.just(("reload",)),
    st.just(("load empty",)),
    st.just(("restart",)),
    st.tuples(st.just("set interval"), st.integers(1, 4)),
    st.tuples(st.just("set factors"), st.floats(1.25, 4.0), st.floats(0.25, 0.75)),
).map(lambda call: [call])
rounds = st.builds(
    lambda i, values, explicit: [
        ("scale",),
        ("gradient", i, values),
        *([("unscale_", i)] if explicit else []),
        ("step", i),
        ("update",),
    ],
    ordered,
    finite_gradients | st.lists(gradient_values, min_size=2, max_size=2),
    st.booleans(),
)
programs = st.lists(calls | rounds, max_size=14).map(
    lambda parts: [call for part in parts for call in part]
)


@settings(max_examples=200)
@given(
    program=programs,
    options=st.fixed_dictionaries(
        {"init_scale": scale_values, "growth_interval": st.integers(1, 3)},
        optional={
            "growth_factor": st.floats(1.125, 4.0),
            "backoff_factor": st.floats(0.125, 0.875),
            "enabled": st.sampled_from([True, True, True, False]),
        },
    ),
)
def test_every_program_of_calls_behaves_as_in_pytorch(
    program: list[tuple[Any, ...]], options: dict[str, Any]
) -> None:
    ours, theirs = Ours(**options), Theirs(**options)
    for call in program:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LossScaleWarning)
            mine, reference = perform(ours, call), perform(theirs, call)
        if isinstance(reference, Exception):
            assert isinstance(mine, type(reference)), (call, mine, reference)
        else:
            np.testing.assert_equal(mine, reference, err_msg=str(call))
        np.testing.assert_equal(visible_state(ours), visible_state(theirs), err_msg=str(call))
        assert ours.scaler.get_scale() == theirs.scaler.get_scale()


@pytest.mark.parametrize("setting", [{"growth_factor": 1.0}, {"backoff_factor": 1.0}])
def test_settings_are_refused_as_in_pytorch(setting: dict[str, float]) -> None:
    with pytest.raises(AssertionError):
        torch.amp.GradScaler("cpu", **setting)
    with pytest.raises(AssertionError):
        GradScaler("cpu", **setting)


def test_defaults_are_those_of_pytorch() -> None:
    assert GradScaler().state_dict() == torch.amp.GradScaler("cpu").state_dict()
