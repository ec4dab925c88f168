"""What every optimizer shares: groups, state and the step."""

from __future__ import annotations

import copy
import json
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn, optim

OPTIMIZERS = [
    lambda params: optim.SGD(params, lr=0.1),
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9, nesterov=True),
    lambda params: optim.Adam(params, lr=0.1),
    lambda params: optim.AdamW(params, lr=0.1, compensated=True),
]


def parameter(*values: float, dtype: mp.DType = mp.float32) -> nn.Parameter:
    return nn.Parameter(mp.tensor(list(values), dtype=dtype))


def with_gradient(*values: float, dtype: mp.DType = mp.float32) -> nn.Parameter:
    p = parameter(*values, dtype=dtype)
    p.grad = mp.tensor([1.0] * len(values), dtype=dtype)
    return p


# The step


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_step_goes_against_the_gradient_in_place(make: Any) -> None:
    p = with_gradient(1.0, 2.0)
    storage, version = p._array, p.version.count
    make([p]).step()
    assert (p.numpy() < [1.0, 2.0]).all()
    assert p._array is storage
    assert p.version.count > version
    assert p.is_leaf
    assert p.requires_grad


def test_a_parameter_without_a_gradient_stays_and_gets_no_state() -> None:
    p, q = with_gradient(1.0), parameter(1.0)
    optimizer = optim.Adam([p, q])
    optimizer.step()
    assert q.item() == 1.0
    assert q not in optimizer.state
    assert optimizer.state[p]["step"] == 1


def test_what_was_saved_for_backward_before_a_step_is_out_of_date() -> None:
    p = with_gradient(1.0, 2.0)
    loss = (p * p).sum()
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(RuntimeError, match="changed in place since"):
        loss.backward()


def test_zero_grad() -> None:
    p = with_gradient(1.0)
    optimizer = optim.SGD([p])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.item() == 0.0
    optimizer.zero_grad()
    assert p.grad is None


def test_a_closure_computes_the_loss_with_gradients_even_under_no_grad() -> None:
    p = parameter(3.0)
    optimizer = optim.SGD([p], lr=0.5)

    def closure() -> mp.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with mp.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert p.item() == 0.0


def test_tensors_larger_than_a_block_strided_and_without_axes_are_updated_whole() -> None:
    """Blocks cover each element once, whatever the shape."""
    rng = np.random.default_rng(0)
    for shape in [(), (1,), (0, 3), (3, 0), (70_001,), (7, 11_003), (1, 100_000), (40_001, 2)]:
        w, g = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
        for order in ("C", "F"):
            p = nn.Parameter(mp.from_numpy(np.array(w, order=order)))
            p.grad = mp.tensor(g)
            optim.SGD([p], lr=0.5).step()
            np.testing.assert_array_equal(p.numpy(), w - np.float32(0.5) * g)


def test_a_step_needs_next_to_no_memory_beside_its_state() -> None:
    p = nn.Parameter(mp.ones(1000, 1000))
    p.grad = mp.ones(1000, 1000)
    optimizer = optim.AdamW([p])
    optimizer.step()  # makes the state
    tracemalloc.start()
    optimizer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < p.nbytes / 2


def test_infinite_gradients_raise_no_warning() -> None:
    p = with_gradient(1.0)
    assert p.grad is not None
    p.grad.fill_(float("inf"))
    optim.Adam([p]).step()  # pytest turns warnings into errors
    assert np.isnan(p.item())


# Groups


def test_groups_have_options_of_their_own() -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    optimizer = optim.SGD([{"params": [p], "lr": 0.5}, {"params": q}], lr=0.25)
    optimizer.step()
    assert (p.item(), q.item()) == (0.5, 0.75)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]


def test_a_group_may_be_added_and_its_options_changed_later() -> None:
    p, q = with_gradient(1.0), with_gradient(1.0)
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.add_param_group({"params": [q], "name": "late"})
    optimizer.param_groups[1]["lr"] = 0.25
    optimizer.step()
    assert (p.item(), q.item()) == (0.5, 0.75)


def test_momentum_may_be_switched_on_later() -> None:
    p = with_gradient(1.0)
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    assert optimizer.state[p]["momentum_buffer"].item() == 1.0
    assert p.item() == 0.0


def test_repr_shows_the_options() -> None:
    text = repr(optim.SGD([parameter(1.0)], lr=0.5))
    assert text.startswith("SGD (\nParameter Group 0\n    lr: 0.5\n")


# State


@pytest.mark.parametrize("dtype", [mp.float32, mp.float16, mp.bfloat16, mp.float64])
def test_state_has_the_dtype_of_its_parameter_and_only_what_is_needed(dtype: mp.DType) -> None:
    def state_of(make: Any) -> dict[str, Any]:
        p = with_gradient(1.0, dtype=dtype)
        optimizer = make([p])
        optimizer.step()
        state: dict[str, Any] = optimizer.state[p]
        assert all(value.dtype is dtype for name, value in state.items() if name != "step")
        return state

    assert [list(state_of(make)) for make in OPTIMIZERS] == [
        ["step"],
        ["step", "momentum_buffer"],
        ["step", "exp_avg", "exp_avg_sq"],
        ["step", "exp_avg", "exp_avg_sq", "compensation"],
    ]


def trained(make: Any, steps: int, dtype: mp.DType) -> tuple[nn.Linear, optim.Optimizer]:
    mp.manual_seed(1)
    model = nn.Linear(3, 2, dtype=dtype)
    optimizer = make(model.parameters())
    train(model, optimizer, range(steps))
    return model, optimizer


def train(model: nn.Linear, optimizer: optim.Optimizer, steps: range) -> None:
    for step in steps:
        rng = np.random.default_rng(step)
        for p in model.parameters():
            p.grad = mp.tensor(rng.normal(size=p.shape), dtype=p.dtype)
        optimizer.step()


@pytest.mark.parametrize("make", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [mp.float32, mp.float16])
def test_a_resumed_run_continues_bit_for_bit(make: Any, dtype: mp.DType) -> None:
    model, _ = trained(make, 8, dtype)
    half, optimizer = trained(make, 5, dtype)

    resumed, other = trained(make, 2, dtype)
    resumed.load_state_dict(half.state_dict())
    other.load_state_dict(optimizer.state_dict())
    train(half, optimizer, range(5, 8))  # must not reach into the resumed run
    train(resumed, other, range(5, 8))
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name].storage, tensor.storage)
    assert str(other.state_dict()) == str(optimizer.state_dict())


def test_the_state_survives_json() -> None:
    """Checkpoints keep tensors apart and the rest as JSON: keys become strings, tuples lists."""
    _, optimizer = trained(OPTIMIZERS[3], 3, mp.float32)
    saved = optimizer.state_dict()
    tensors = {
        (str(i), name): value
        for i, state in saved["state"].items()
        for name, value in state.items()
        if isinstance(value, mp.Tensor)
    }
    loaded = json.loads(json.dumps(saved, default=lambda _: None))
    for (i, name), value in tensors.items():
        loaded["state"][i][name] = value
    _, other = trained(OPTIMIZERS[3], 1, mp.float32)
    other.load_state_dict(loaded)
    assert str(other.state_dict()) == str(saved)


def test_state_goes_to_the_device_of_its_parameter(device: str) -> None:
    _, optimizer = trained(OPTIMIZERS[2], 2, mp.float32)
    model = nn.Linear(3, 2, device=device)
    other = OPTIMIZERS[2](model.parameters())
    other.load_state_dict(optimizer.state_dict())
    assert other.state[model.weight]["exp_avg"].device == model.weight.device


def test_a_copied_optimizer_belongs_to_the_copied_model() -> None:
    model, optimizer = trained(OPTIMIZERS[2], 2, mp.float32)
    twin, other = copy.deepcopy((model, optimizer))
    before = model.weight.numpy()
    train(twin, other, range(2, 4))
    np.testing.assert_array_equal(model.weight.numpy(), before)
    train(model, optimizer, range(2, 4))
    np.testing.assert_array_equal(model.weight.numpy(), twin.weight.numpy())
