from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinymp as mp
from tinymp.amp import MasterWeights
from tinymp.nn import LayerNorm, Linear, Sequential
from tinymp.optim import SGD, Adam

HALF = [mp.float16, mp.bfloat16]


def parameter(values: list[float], dtype: mp.DType = mp.float16, device: str = "cpu") -> mp.Tensor:
    return mp.tensor(values, dtype=dtype, device=device, requires_grad=True)


@pytest.mark.parametrize("dtype", HALF)
def test_a_master_has_the_parameters_values_in_float32(dtype: mp.DType, device: str) -> None:
    w = parameter([0.1, -2.0, 3e-5], dtype, device)
    (master,) = MasterWeights([w]).parameters()
    assert master.dtype is mp.float32
    assert master.device == w.device
    assert master.requires_grad
    assert master.is_leaf
    np.testing.assert_array_equal(master.numpy(), w.numpy())


@pytest.mark.parametrize("dtype", [mp.float32, mp.float64])
def test_a_wide_parameter_is_its_own_master(dtype: mp.DType) -> None:
    w = parameter([0.1], dtype)
    masters = MasterWeights([w])
    assert masters.parameters()[0] is w
    w.grad = gradient = mp.tensor([2.0], dtype=dtype)
    masters.copy_gradients()
    masters.copy_gradients(accumulate=True)
    masters.copy_weights()
    assert w.grad is gradient
    assert w.version.count == 0
    assert masters.state_dict() == {}


def test_switched_off_every_parameter_is_its_own_master() -> None:
    w = parameter([0.1])
    assert MasterWeights([w], enabled=False).parameters()[0] is w


@pytest.mark.parametrize("dtype", HALF)
def test_gradients_move_to_the_masters_in_float32(dtype: mp.DType, device: str) -> None:
    w = parameter([1.0, 2.0], dtype, device)
    masters = MasterWeights([w])
    (w * w).sum().backward()
    masters.copy_gradients()
    (master,) = masters.parameters()
    assert master.grad is not None
    assert master.grad.dtype is mp.float32
    assert master.grad.numpy().tolist() == [2.0, 4.0]
    assert w.grad is None


def test_microbatches_accumulate_in_float32() -> None:
    # In float16 a sum of ones stops at 2048: the next float16 is 2050.
    w = parameter([0.0])
    masters = MasterWeights([w])
    for _ in range(3000):
        w.grad = mp.ones(1, dtype=mp.float16)
        masters.copy_gradients(accumulate=True)
    (master,) = masters.parameters()
    assert master.grad is not None
    assert master.grad.item() == 3000.0

    for _ in range(3000):
        w.sum().backward()
    assert w.grad is not None
    assert w.grad.item() == 2048.0


def test_without_accumulation_what_was_there_is_replaced() -> None:
    a, b = parameter([0.0]), parameter([0.0])
    masters = MasterWeights([a, b])
    a.grad = b.grad = mp.ones(1, dtype=mp.float16)
    masters.copy_gradients()
    a.grad = mp.ones(1, dtype=mp.float16)
    masters.copy_gradients()
    first, second = masters.parameters()
    assert first.grad is not None
    assert first.grad.item() == 1.0
    assert second.grad is None


def test_accumulation_leaves_alone_what_got_no_gradient_this_time() -> None:
    a, b = parameter([0.0]), parameter([0.0])
    masters = MasterWeights([a, b])
    a.grad = b.grad = mp.ones(1, dtype=mp.float16)
    masters.copy_gradients(accumulate=True)
    a.grad = mp.ones(1, dtype=mp.float16)
    masters.copy_gradients(accumulate=True)
    assert [m.grad.item() for m in masters.parameters() if m.grad is not None] == [2.0, 1.0]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("mode", ["nearest_even", "toward_zero", "stochastic"])
def test_weights_come_back_rounded_once_by_the_mode(
    dtype: mp.DType, mode: str, device: str
) -> None:
    w = parameter([0.0] * 100, dtype, device)
    masters = MasterWeights([w])
    values = np.linspace(0.1, 3.0, 100, dtype=np.float32)
    with mp.no_grad():
        masters.parameters()[0].copy_(mp.tensor(values))
    mp.manual_seed(3)
    masters.copy_weights(mode)
    mp.manual_seed(3)
    with mp.rounding(mode):
        masters_rounded = mp.tensor(values, device=device).to(dtype).numpy()
    np.testing.assert_array_equal(w.numpy(), masters_rounded)
    with mp.rounding(mode):
        mp.manual_seed(3)
        masters.copy_weights()
    np.testing.assert_array_equal(w.numpy(), masters_rounded)


def test_copied_weights_count_as_a_change_in_place() -> None:
    w = parameter([1.0])
    masters = MasterWeights([w])
    loss = (w * w).sum()
    masters.copy_weights()
    with pytest.raises(RuntimeError, match="changed in place since"):
        loss.backward()


@given(
    values=st.lists(st.floats(-60000, 60000, width=32), min_size=1, max_size=20),
    dtype=st.sampled_from(HALF),
)
def test_there_and_back_changes_no_weight(values: list[float], dtype: mp.DType) -> None:
    w = parameter(values, dtype)
    before = w.numpy()
    MasterWeights([w]).copy_weights()
    np.testing.assert_array_equal(w.numpy(), before)


def test_a_frozen_parameter_has_a_frozen_master() -> None:
    frozen = parameter([1.0])
    frozen.requires_grad_(False)
    assert not MasterWeights([frozen]).parameters()[0].requires_grad


def test_a_tied_parameter_has_one_master() -> None:
    w, v = parameter([1.0]), parameter([2.0])
    assert [m.item() for m in MasterWeights([w, v, w]).parameters()] == [1.0, 2.0]


def test_optimizer_state_on_masters_is_float32() -> None:
    model = Sequential(Linear(3, 4), LayerNorm(4)).half()
    masters = MasterWeights(model.parameters())
    optimizer = Adam(masters.parameters())
    model(mp.randn(5, 3).half()).float().sum().backward()
    masters.copy_gradients()
    optimizer.step()
    tensors = [x for s in optimizer.state.values() for x in s.values() if isinstance(x, mp.Tensor)]
    assert tensors
    assert {tensor.dtype for tensor in tensors} == {mp.float32}


def test_saved_masters_are_those_that_come_back() -> None:
    w, v = parameter([1.0]), parameter([1.0], mp.float32)
    masters = MasterWeights([v, w])
    with mp.no_grad():
        masters.parameters()[1].copy_(mp.tensor([1.0001]))
    saved = {name: tensor.clone() for name, tensor in masters.state_dict().items()}
    assert list(saved) == ["1"]
    others = MasterWeights([v, parameter([1.0])])
    others.load_state_dict(saved)
    assert others.parameters()[1].item() == np.float32(1.0001)


# Errors


def test_error_no_parameters() -> None:
    with pytest.raises(ValueError, match="MasterWeights was given no parameters; pass"):
        MasterWeights(iter([]))


@pytest.mark.parametrize(("given", "name"), [(mp.tensor([1]), "int64"), (3.0, "float")])
def test_error_not_a_float_tensor(given: object, name: str) -> None:
    with pytest.raises(TypeError, match=f"given a parameter of .*{name}.*takes float tensors"):
        MasterWeights([given])  # type: ignore[list-item]


def test_error_no_gradients() -> None:
    with pytest.raises(RuntimeError, match="no gradient in any of the 1 parameters; call backward"):
        MasterWeights([parameter([1.0])]).copy_gradients()


def test_error_model_converted_since() -> None:
    model = Linear(2, 1).half()
    masters = MasterWeights(model.parameters())
    model.bfloat16()
    with pytest.raises(
        RuntimeError, match="was float16 on cpu when its master was made, and is bfloat16"
    ):
        masters.copy_weights()


def test_error_masters_of_another_model() -> None:
    saved = MasterWeights(Linear(2, 1).half().parameters()).state_dict()
    masters = MasterWeights(Linear(3, 1).half().parameters())
    before = [m.numpy() for m in masters.parameters()]
    with pytest.raises(RuntimeError, match="load the state that was saved with this model"):
        masters.load_state_dict(saved)
    for master, values in zip(masters.parameters(), before, strict=True):
        np.testing.assert_array_equal(master.numpy(), values)


def test_an_optimizer_on_masters_never_touches_the_model() -> None:
    w = parameter([1.0])
    masters = MasterWeights([w])
    optimizer = SGD(masters.parameters(), lr=1.0)
    w.grad = mp.ones(1, dtype=mp.float16)
    masters.copy_gradients()
    optimizer.step()
    assert w.item() == 1.0
    masters.copy_weights()
    assert w.item() == 0.0
