"""The accumulator of the forward pass is that of its backward pass, in every rule that adds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinymp as mp
from tinymp.numerics import accumulation, accumulator, active_accumulator, tensor_core_matmul
from tinymp.testing import gradcheck


def ones(*shape, dtype=mp.float16):
    return mp.ones(*shape, dtype=dtype)


def test_sums_and_means_reach_the_accumulator():
    x = ones(4096, dtype=mp.float32)
    assert x.sum().item() == 4096
    with accumulation("float16"):
        assert x.sum().item() == 2048
        assert x.mean().item() == 0.5
    assert x.sum().item() == 4096


def test_products_reach_the_accumulator():
    x, w = ones(2, 4096), ones(3, 4096)
    with accumulation("float16"):
        assert (mp.matmul(x, w.t()).numpy() == 2048).all()
        assert (mp.linear(x, w).numpy() == 2048).all()
    assert (mp.linear(x, w).numpy() == 4096).all()


def test_backward_uses_the_accumulator_of_forward_wherever_it_is_called():
    x = ones(4096, 2).requires_grad_()
    w = ones(3, 2).requires_grad_()
    bias = mp.zeros(3, dtype=mp.float16).requires_grad_()
    with accumulation("float16"):
        out = mp.linear(x, w, bias)
    out.backward(ones(4096, 3))
    assert (w.grad.numpy() == 2048).all()  # a product over 4096 rows
    assert (bias.grad.numpy() == 2048).all()  # broadcasting undone: a sum over them
    w.grad = bias.grad = None
    out = mp.linear(x, w, bias)
    with accumulation("float16"):
        out.backward(ones(4096, 3))
    assert (w.grad.numpy() == 4096).all()
    assert (bias.grad.numpy() == 4096).all()


def test_the_innermost_choice_wins_and_threads_have_their_own():
    assert active_accumulator().name == "float32"
    with accumulation("float64"), accumulation("pairwise", dtype="float16") as inner:
        assert active_accumulator() is inner is accumulator("pairwise", dtype="float16")
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: active_accumulator().name).result() == "float32"
        with accumulation("float32"):
            assert active_accumulator().name == "float32"
    assert active_accumulator().name == "float32"


def test_an_error_leaves_no_accumulator_behind():
    with pytest.raises(ValueError, match="unknown accumulator"), accumulation("fastest"):
        pass
    with pytest.raises(KeyError), accumulation("kahan"):
        raise KeyError
    assert active_accumulator().name == "float32"


def test_a_contract_tells_its_accumulator():
    x = ones(2, 2).requires_grad_()
    with accumulation("chunked", size=8):
        assert (x @ x).node.contract.accumulator is accumulator("chunked", size=8)
    assert (x @ x).node.contract.accumulator.name == "float32"


@pytest.mark.parametrize("name", ["float64", "sequential", "chunked", "pairwise", "kahan"])
def test_gradients_are_right_under_every_accumulator(name):
    rng = np.random.default_rng(0)
    x, w = (mp.tensor(rng.standard_normal(s), requires_grad=True) for s in ((5, 4), (3, 4)))

    def loss(x, w):
        return mp.softmax(mp.linear(x, w), -1).sum(0).mean() + mp.layer_norm(x, (4,)).mean()

    with accumulation(name):
        assert gradcheck(loss, [x, w])


@pytest.mark.parametrize("dtype", [mp.float16, mp.bfloat16], ids=str)
def test_tensor_cores_multiply_forward_and_backward(dtype):
    rng = np.random.default_rng(1)
    x, w = (
        mp.tensor(rng.standard_normal(s).astype(np.float32)).to(dtype).requires_grad_()
        for s in ((33, 40), (20, 40))
    )
    g = mp.tensor(rng.standard_normal((33, 20)).astype(np.float32)).to(dtype)
    with accumulation("tensor_core"):
        out = mp.linear(x, w)
    out.backward(g)

    def rounded(values):
        return mp.tensor(values).to(dtype).numpy()

    def product(a, b):
        return rounded(tensor_core_matmul(a, b, dtype))

    np.testing.assert_array_equal(out.numpy(), product(x.storage, w.storage.T))
    np.testing.assert_array_equal(x.grad.numpy(), product(g.storage, w.storage))
    np.testing.assert_array_equal(w.grad.numpy(), product(g.storage.T, x.storage))


def test_tensor_cores_refuse_other_products_with_advice():
    x = mp.ones(2, 2)
    with accumulation("tensor_core"):
        with pytest.raises(TypeError, match=r"matmul\(float32\[2, 2\].*two tensors of one 2-byte"):
            x @ x
        with pytest.raises(TypeError, match=r"product of float16 and bfloat16"):
            x.half() @ x.bfloat16()
        assert x.sum().item() == 4


def test_a_model_trains_on_modelled_tensor_cores():
    from tinymp import amp, nn, optim

    rng = np.random.default_rng(2)
    x = mp.tensor(rng.standard_normal((64, 8)).astype(np.float32))
    y = mp.tensor((rng.standard_normal(64) > 0).astype(np.int64))
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2))
    step = optim.Adam(model.parameters(), lr=0.01)
    scaler = amp.GradScaler(init_scale=1024.0)
    losses = []
    for _ in range(20):
        with accumulation("tensor_core"), amp.autocast("float16"):
            loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(step)
        scaler.update()
        step.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
