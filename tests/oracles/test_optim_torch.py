"""Optimizers, schedules and clipping beside PyTorch's, over drawn settings."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp import nn, optim
from tinymp.optim import lr_scheduler

torch = pytest.importorskip("torch")

STEPS = 12
SIZE = 6


@dataclass
class Approx:
    """Numbers with a bound of the error with which they are computed.

    A running error analysis (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
    section 3.3): each operation passes the errors of its operands on and adds a rounding of its
    result. A rule that is run on such numbers bounds its own error. A Python number is rounded to
    the dtype before it is used, hence the two roundings there. Terms of second order are left out.
    """

    value: np.ndarray[Any, Any]
    error: np.ndarray[Any, Any]
    u: float

    def _with(self, value: Any, error: Any, roundings: int) -> Approx:
        return Approx(value, error + roundings * self.u * np.abs(value), self.u)

    def __add__(self, other: Any) -> Approx:
        if isinstance(other, Approx):
            return self._with(self.value + other.value, self.error + other.error, 1)
        return self._with(self.value + other, self.error + self.u * abs(other), 1)

    __radd__ = __add__

    def __neg__(self) -> Approx:
        return Approx(-self.value, self.error, self.u)

    def __sub__(self, other: Approx) -> Approx:
        return self + -other

    def __mul__(self, other: Any) -> Approx:
        if isinstance(other, Approx):
            error = self.error * np.abs(other.value) + other.error * np.abs(self.value)
            return self._with(self.value * other.value, error, 1)
        return self._with(self.value * other, self.error * abs(other), 2)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Approx:
        if isinstance(other, Approx):
            quotient = self.value / other.value
            error = (self.error + np.abs(quotient) * other.error) / np.abs(other.value)
            return self._with(quotient, error, 1)
        return self * (1 / other)

    def _become(self, other: Approx) -> Approx:
        self.value, self.error = other.value, other.error
        return self

    def __iadd__(self, other: Any) -> Approx:
        return self._become(self + other)

    def __imul__(self, other: Any) -> Approx:
        return self._become(self * other)

    def __itruediv__(self, other: Any) -> Approx:
        return self._become(self / other)

    def __setitem__(self, everything: Any, other: Approx) -> None:
        self._become(other)

    def sqrt(self) -> Approx:
        root = np.sqrt(self.value)
        error = np.sqrt(self.value + self.error) - root
        return self._with(root, 2 * error, 1)


rate = st.floats(1e-4, 1.0)
decay = st.sampled_from([0.0, 0.01, 0.3])
sgd_options = st.fixed_dictionaries(
    {
        "lr": rate,
        "momentum": st.floats(0.1, 0.99),
        "dampening": st.floats(0.0, 0.9),
        "weight_decay": decay,
    }
) | st.fixed_dictionaries({"lr": rate, "weight_decay": decay})
nesterov_options = st.fixed_dictionaries(
    {"lr": rate, "momentum": st.floats(0.1, 0.99), "weight_decay": decay}
).map(lambda options: {**options, "nesterov": True})
adam_options = st.fixed_dictionaries(
    {
        "lr": rate,
        "betas": st.tuples(st.floats(0.0, 0.99), st.floats(0.5, 0.9999)),
        "eps": st.floats(1e-8, 1e-2),
        "weight_decay": decay,
    }
)
cases = (
    st.tuples(st.just("SGD"), sgd_options | nesterov_options)
    | st.tuples(st.just("Adam"), adam_options)
    | st.tuples(st.just("AdamW"), adam_options)
)


def gradients_of(seed: int, dtype: Any) -> tuple[Any, Any]:
    """Initial values and a gradient for each step, of sizes from 0.01 to 100."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=SIZE)
    g = rng.choice([-1.0, 1.0], (STEPS, SIZE)) * 10 ** rng.uniform(-2, 2, (STEPS, SIZE))
    return w.astype(dtype), g.astype(dtype)


def error_bound(optimizer: optim.Optimizer, w: Any, gradients: Any, u: float) -> Any:
    """Bound of the rounding errors of the optimizer's own rule, after all steps, by element."""
    group = optimizer.param_groups[0]
    options = {name: group[name] for name in optimizer._rule_options}
    nothing = np.zeros(SIZE)
    xp = SimpleNamespace(sqrt=Approx.sqrt)
    weights = Approx(w.astype(np.float64), nothing, u)
    state = [Approx(nothing, nothing, u) for _ in optimizer.slots(group)]
    step = type(optimizer).rule(xp, lambda number: number, **options)
    for t, g in enumerate(gradients, start=1):
        gradient = Approx(g.astype(np.float64), nothing, u)
        weights = weights - step(t, weights, gradient, *state)
    return weights.error


@settings(max_examples=200)
@given(case=cases, seed=st.integers(0, 10_000), single=st.booleans())
def test_trajectories(case: tuple[str, dict[str, Any]], seed: int, single: bool) -> None:
    """PyTorch orders the same formulas otherwise, with no more than twice as many roundings."""
    name, options = case
    dtype, u = (np.float32, 2.0**-24) if single else (np.float64, 2.0**-53)
    w, gradients = gradients_of(seed, dtype)
    ours = nn.Parameter(mp.tensor(w))
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimizer = getattr(optim, name)([ours], **options)
    reference = getattr(torch.optim, name)([theirs], foreach=False, **options)
    for g in gradients:
        ours.grad, theirs.grad = mp.tensor(g), torch.tensor(g)
        optimizer.step()
        reference.step()
    bound = 3 * error_bound(optimizer, w, gradients, u)
    difference = np.abs(ours.numpy().astype(np.float64) - theirs.detach().numpy())
    assert (difference <= bound).all(), (difference / bound).max()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_defaults_and_state_names(name: str) -> None:
    ours = getattr(optim, name)([nn.Parameter(mp.ones(1))])
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))])
    for key, value in ours.defaults.items():
        if key not in ("rounding", "compensated"):
            assert theirs.defaults[key] == value, key
    ours.param_groups[0]["params"][0].grad = mp.ones(1)
    theirs.param_groups[0]["params"][0].grad = torch.ones(1)
    ours.step()
    theirs.step()
    state, expected = ours.state_dict(), theirs.state_dict()
    assert set(state) == set(expected)
    assert state["param_groups"][0]["params"] == expected["param_groups"][0]["params"] == [0]
    found = {k for k, v in expected["state"].get(0, {}).items() if v is not None}
    assert set(state["state"][0]) == found | {"step"}


schedules = st.one_of(
    st.builds(
        lambda n, g: ("StepLR", {"step_size": n, "gamma": g}),
        st.integers(1, 8),
        st.floats(0.1, 1.0),
    ),
    st.builds(
        lambda a, b, n: ("LinearLR", {"start_factor": a, "end_factor": b, "total_iters": n}),
        st.floats(0.1, 1.0),
        st.floats(0.1, 1.0),
        st.integers(1, 12),
    ),
    st.builds(
        lambda n, e: ("CosineAnnealingLR", {"T_max": n, "eta_min": e}),
        st.integers(1, 15),
        st.floats(0.0, 0.1),
    ),
)


def both(lr: float) -> tuple[Any, Any]:
    ours = optim.SGD([nn.Parameter(mp.ones(1))], lr=lr)
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=lr)
    return ours, theirs


def assert_same_rates(ours: Any, theirs: Any, lr: float, steps: int) -> None:
    """PyTorch multiplies its way from rate to rate: an error of a few ulps a step.

    A cosine's factor has the condition number 1 / (1 + cos), at most steps² / 4 for the T drawn.
    """
    tolerance = 8 * steps**3 * 2.0**-53 * lr
    for _ in range(steps):
        assert ours.get_last_lr()[0] == pytest.approx(theirs.get_last_lr()[0], rel=0, abs=tolerance)
        theirs.optimizer.step()
        theirs.step()
        ours.step()


@given(case=schedules, lr=st.floats(0.1, 10.0))
def test_schedules(case: tuple[str, dict[str, Any]], lr: float) -> None:
    name, options = case
    ours, theirs = both(lr)
    assert_same_rates(
        getattr(lr_scheduler, name)(ours, **options),
        getattr(torch.optim.lr_scheduler, name)(theirs, **options),
        lr,
        20,
    )


# Not a second LinearLR: PyTorch's starts from the rate at which the first one ended.
@given(
    warm_up=st.integers(1, 8),
    start=st.floats(0.1, 1.0),
    then=schedules.filter(lambda case: case[0] != "LinearLR"),
)
def test_one_schedule_after_the_other(
    warm_up: int, start: float, then: tuple[str, dict[str, Any]]
) -> None:
    def chain(module: Any, optimizer: Any) -> Any:
        first = module.LinearLR(optimizer, start_factor=start, total_iters=warm_up)
        second = getattr(module, then[0])(optimizer, **then[1])
        return module.SequentialLR(optimizer, [first, second], milestones=[warm_up])

    ours, theirs = both(1.0)
    assert_same_rates(chain(lr_scheduler, ours), chain(torch.optim.lr_scheduler, theirs), 1.0, 20)


@given(
    seed=st.integers(0, 1000),
    max_norm=st.floats(0.1, 10.0),
    norm_type=st.sampled_from([1.0, 2.0, 3.0, float("inf")]),
)
def test_clipping_by_norm(seed: int, max_norm: float, norm_type: float) -> None:
    """PyTorch accumulates in float32: γ_n for n terms, and one power and root."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(size=s).astype(np.float32) for s in [(3, 4), (5,)]]
    ours, theirs = [], []
    for value in values:
        p, q = nn.Parameter(mp.tensor(value)), torch.nn.Parameter(torch.tensor(value))
        p.grad, q.grad = mp.tensor(value), torch.tensor(value)
        ours.append(p)
        theirs.append(q)
    norm = optim.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    relative = 32 * 2.0**-24
    assert norm.item() == pytest.approx(expected.item(), rel=relative)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=2 * relative, atol=0)
