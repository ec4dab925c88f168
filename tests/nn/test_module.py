"""What a module holds, what its state is, and what can be done to it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinymp as mp
from tinymp import nn


class Tied(nn.Module):
    """Two layers with one weight, a scale of its own, a buffer and a child in a list."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(mp.ones(1))
        self.encoder = nn.Linear(3, 3)
        self.decoder = nn.Linear(3, 3, bias=False)
        self.decoder.weight = self.encoder.weight
        self.layers = nn.ModuleList([nn.Tanh(), nn.Dropout(0.5)])
        self.register_buffer("count", mp.tensor([1, 2]))
        self.register_buffer("mean", mp.tensor([0.5]), persistent=False)

    def forward(self, x: mp.Tensor) -> mp.Tensor:
        return self.decoder(self.encoder(x)) * self.scale


def test_parameters_are_found_in_order_and_tied_ones_once() -> None:
    model = Tied()
    names = [name for name, _ in model.named_parameters()]
    assert names == ["scale", "encoder.weight", "encoder.bias"]
    assert [p for _, p in model.named_parameters()][1] is model.decoder.weight
    assert len(list(model.parameters())) == 3
    assert [name for name, _ in model.named_parameters(recurse=False)] == ["scale"]
    assert next(iter(model.named_parameters("model")))[0] == "model.scale"


def test_children_modules_and_buffers() -> None:
    model = Tied()
    assert [name for name, _ in model.named_children()] == ["encoder", "decoder", "layers"]
    assert [name for name, _ in model.named_modules()] == [
        "", "encoder", "decoder", "layers", "layers.0", "layers.1",
    ]  # fmt: skip
    assert [name for name, _ in model.named_buffers()] == ["count", "mean"]
    assert next(iter(model.modules())) is model
    assert next(iter(model.children())) is model.encoder


def test_a_module_in_two_places_is_listed_once_but_applied_twice() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, layer)
    assert len(list(model.children())) == 1
    assert len(list(model.parameters())) == 2
    assert len(model) == 2
    x = mp.randn(4, 2)
    np.testing.assert_array_equal(model(x).numpy(), layer(layer(x)).numpy())


def test_an_attribute_that_is_deleted_or_replaced_is_no_longer_part_of_the_model() -> None:
    model = Tied()
    del model.scale
    model.encoder = nn.Identity()
    assert [name for name, _ in model.named_parameters()] == ["decoder.weight"]


def test_a_module_without_forward_says_so() -> None:
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty was called but has no forward; define"):
        Empty()(1)


def test_a_plain_tensor_does_not_replace_a_parameter() -> None:
    layer = nn.Linear(2, 2)
    expected = (
        r"a plain tensor was assigned to parameter 'weight' of Linear.*; wrap it in tinymp.nn"
    )
    with pytest.raises(TypeError, match=expected):
        layer.weight = layer.weight * 0.5
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_register_buffer_refuses_a_name_that_is_taken() -> None:
    model = Tied()
    with pytest.raises(KeyError, match=r"'scale', but Tied already has an attribute of that name"):
        model.register_buffer("scale", mp.zeros(1))
    model.register_buffer("count", None)  # again is allowed, as is an empty one
    assert "count" not in model.state_dict()


# State


def test_state_dict_names_everything_persistent_and_shares_storage() -> None:
    model = Tied()
    state = model.state_dict()
    assert list(state) == ["scale", "count", "encoder.weight", "encoder.bias", "decoder.weight"]
    assert not any(tensor.requires_grad for tensor in state.values())
    state["scale"].fill_(3.0)
    assert model.scale.item() == 3.0


def test_load_state_dict_copies_values_and_keeps_parameters() -> None:
    source, target = Tied(), Tied()
    weight = target.encoder.weight
    source.count.copy_(mp.tensor([7, 8]))
    assert target.load_state_dict(source.state_dict()) == ([], [])
    for name, tensor in target.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), source.state_dict()[name].numpy())
    assert target.encoder.weight is weight is target.decoder.weight
    source.scale.data.fill_(9.0)
    assert target.scale.item() == 1.0  # a copy


def test_load_state_dict_rounds_once_to_the_dtype_of_the_parameter() -> None:
    source, target = nn.Linear(4, 4), nn.Linear(4, 4, dtype=mp.float16)
    target.load_state_dict(source.state_dict())
    assert target.weight.dtype is mp.float16
    np.testing.assert_array_equal(target.weight.storage, source.weight.storage.astype(np.float16))


def test_load_state_dict_accepts_arrays() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])})
    assert layer.weight.tolist() == [[1.0, 2.0]]


def test_load_state_dict_tells_every_problem_and_changes_nothing() -> None:
    layer = nn.Linear(2, 3)
    before = layer.weight.numpy()
    wrong = {"weight": mp.zeros(3, 2), "bias": mp.zeros(4), "scale": mp.zeros(1)}
    with pytest.raises(RuntimeError) as caught:
        layer.load_state_dict(wrong)
    message = str(caught.value)
    assert "does not fit Linear; nothing was loaded; build the model as it was" in message
    assert "unexpected: scale" in message
    assert "bias: shape (4,) was given, (3,) is expected" in message
    assert "strict=False" in message
    np.testing.assert_array_equal(layer.weight.numpy(), before)

    with pytest.raises(RuntimeError, match="missing: weight\n  missing: bias"):
        layer.load_state_dict({})


def test_load_state_dict_not_strict_returns_the_mismatch_but_not_for_shapes() -> None:
    layer = nn.Linear(2, 3)
    result = layer.load_state_dict({"bias": mp.ones(3), "scale": mp.ones(1)}, strict=False)
    assert result.missing_keys == ["weight"]
    assert result.unexpected_keys == ["scale"]
    assert layer.bias is not None
    assert layer.bias.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="bias: shape") as caught:
        layer.load_state_dict({"bias": mp.ones(5)}, strict=False)
    assert "missing" not in str(caught.value)
    assert "strict=False" not in str(caught.value)


def test_a_copied_or_pickled_model_is_the_same_and_independent() -> None:
    model = Tied()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.decoder.weight is twin.encoder.weight
        assert isinstance(twin.scale, nn.Parameter)
        x = mp.randn(5, 3)
        np.testing.assert_array_equal(twin(x).numpy(), model(x).numpy())
        twin.scale.data.fill_(2.0)
        assert model.scale.item() == 1.0


# What can be done to it


def test_train_and_eval_reach_every_module() -> None:
    model = Tied()
    assert model.training
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16, mp.float64])
def test_to_converts_in_place_what_is_floating_point(dtype: mp.DType) -> None:
    model = Tied()
    before = list(model.parameters())
    model.encoder(mp.randn(2, 3)).sum().backward()
    expected = model.encoder.weight.to(dtype).numpy()
    assert model.to(dtype) is model
    for old, new in zip(before, model.parameters(), strict=True):
        assert old is new
        assert new.dtype is dtype
        assert new.requires_grad
    assert model.encoder.weight.grad is not None
    assert model.encoder.weight.grad.dtype is dtype
    assert model.count.dtype is mp.int64
    assert model.mean.dtype is dtype
    assert model.decoder.weight is model.encoder.weight
    np.testing.assert_array_equal(model.encoder.weight.numpy(), expected)
    out = model(mp.randn(2, 3).to(dtype))
    assert out.dtype is dtype
    out.sum().backward()  # adds to the converted gradient


def test_the_short_names_of_to() -> None:
    layer = nn.Linear(2, 2)
    assert layer.half().weight.dtype is mp.float16
    assert layer.bfloat16().weight.dtype is mp.bfloat16
    assert layer.double().weight.dtype is mp.float64
    assert layer.float().weight.dtype is mp.float32
    assert layer.cpu().weight.device == "cpu"


def test_to_that_changes_nothing_leaves_saved_tensors_valid() -> None:
    layer = nn.Linear(2, 2)
    x = mp.randn(3, 2, requires_grad=True)
    out = layer(x)
    layer.to("cpu", mp.float32)
    out.sum().backward()
    assert x.grad is not None


def test_to_refuses_what_is_no_floating_point_dtype() -> None:
    with pytest.raises(
        TypeError, match=r"Module.to was given int64; parameters are floating-point"
    ):
        nn.Linear(2, 2).to(mp.int64)
    with pytest.raises(TypeError, match="unknown dtype 'floaty'"):
        nn.Linear(2, 2).to("floaty")


def test_to_moves_to_a_device_and_back(device: str) -> None:
    model = Tied()
    model.encoder(mp.randn(2, 3)).sum().backward()
    before = model.encoder.weight.numpy()
    model.to(device, mp.float16).to("cpu")
    assert model.count.device == "cpu"
    np.testing.assert_array_equal(model.encoder.weight.numpy(), before.astype(np.float16))
    model.to(device)
    gradient = model.encoder.weight.grad
    assert gradient is not None
    assert gradient.device == model.encoder.weight.device == model.count.device
    assert model.count.device.startswith(device)


def test_zero_grad_forgets_or_overwrites() -> None:
    layer = nn.Linear(2, 2)
    layer(mp.randn(3, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is not None
    assert not layer.weight.grad.numpy().any()
    layer.zero_grad()
    assert layer.weight.grad is None


def test_requires_grad_freezes() -> None:
    layer = nn.Linear(2, 2).requires_grad_(False)
    assert not layer(mp.randn(3, 2)).requires_grad
    assert layer.requires_grad_()(mp.randn(3, 2)).requires_grad


def test_apply_visits_children_first() -> None:
    seen: list[str] = []
    nn.Sequential(nn.Linear(1, 1), nn.ReLU()).apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Sequential"]


def test_repr_is_a_readable_tree() -> None:
    assert repr(Tied()) == (
        "Tied(\n"
        "  (encoder): Linear(in_features=3, out_features=3, bias=True)\n"
        "  (decoder): Linear(in_features=3, out_features=3, bias=False)\n"
        "  (layers): ModuleList(\n"
        "    (0): Tanh()\n"
        "    (1): Dropout(p=0.5)\n"
        "  )\n"
        ")"
    )


def test_a_subclass_may_show_settings_and_children() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.ReLU()

        def extra_repr(self) -> str:
            return "width=3"

    assert repr(Block()) == "Block(\n  width=3\n  (inner): ReLU()\n)"
