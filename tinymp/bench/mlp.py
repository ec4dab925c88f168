"""The training step of a multilayer perceptron, by hand, by tinymp and by other libraries.

All contestants start from the same weights and learn the same batch again and again, by plain SGD.
Each hands back the loss as a Python number, as a loop that reports it would.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinymp import models, ops
from tinymp.amp import DynamicLossScale, Policy, capture_backward
from tinymp.autograd import Tensor
from tinymp.bench.by_hand import MLP as ByHand
from tinymp.bench.float32_step import HOW, float32_step
from tinymp.bench.machine import installed
from tinymp.bench.measure import Contestant, Race
from tinymp.devices import manual_seed
from tinymp.formats import bfloat16, float16
from tinymp.optim import SGD

Array = Any
Step = Callable[[], float]


class Work(NamedTuple):
    """A perceptron's initial weights, (out, in), and biases, a batch, and the learning rate."""

    weights: list[Array]
    biases: list[Array]
    x: Array
    labels: Array
    lr: float = 0.01


def work(sizes: tuple[int, ...], batch: int) -> Work:
    """Random work for layers of these sizes, the same every time."""
    random = np.random.default_rng(0)
    pairs = list(pairwise(sizes))
    return Work(
        [(random.standard_normal((o, i)) / i**0.5).astype(np.float32) for i, o in pairs],
        [np.zeros(o, np.float32) for _, o in pairs],
        random.standard_normal((batch, sizes[0])).astype(np.float32),
        random.integers(0, sizes[-1], batch),
    )


def by_hand(work: Work) -> Step:
    """Plain NumPy."""
    model = ByHand([w.copy() for w in work.weights], [b.copy() for b in work.biases], work.lr)
    return lambda: model.step(work.x, work.labels)


#: The formats in which tinymp takes the step. Two-byte models have float32 masters.
POLICIES = {
    "FP32": Policy(),
    "BF16, truncated": Policy(bfloat16, masters=True, rounding="toward_zero"),
    "BF16, to nearest": Policy(bfloat16, masters=True),
    "FP16, scaled": Policy(float16, masters=True, scaler=DynamicLossScale()),
}


def tinymp(work: Work, policy: Policy, captured: bool = False) -> Step:
    """This package, under a policy: the lines that the policy's documentation shows."""
    manual_seed(0)
    sizes = [work.x.shape[1], *(len(b) for b in work.biases)]
    model = models.MLP(sizes[0], sizes[1:-1], sizes[-1])
    values = [array for pair in zip(work.weights, work.biases, strict=True) for array in pair]
    for parameter, value in zip(model.parameters(), values, strict=True):
        parameter.data.copy_(ops.tensor(value))
    policy.cast_model(model)
    masters, scaler = policy.make_masters(model), policy.make_scaler()
    optimizer = SGD(masters.parameters(), lr=work.lr, **policy.optimizer_options())
    x, labels = policy.cast_input(ops.tensor(work.x)), ops.tensor(work.labels)

    def objective(x: Tensor, labels: Tensor) -> Tensor:
        return ops.cross_entropy(policy.cast_output(model(x)), labels)

    def lines(x: Tensor, labels: Tensor) -> Tensor:
        loss = objective(x, labels)
        scaler.scale(loss).backward()
        masters.copy_gradients()
        return loss

    backward = capture_backward(objective, masters, scaler) if captured else lines

    def step() -> float:
        with policy.rounding_context():
            optimizer.zero_grad()
            loss = backward(x, labels)
            scaler.step(optimizer)
            scaler.update()
            masters.copy_weights()
        return float(loss.item())

    return step if policy.masters else float32_step(objective, optimizer, x, labels, captured)


def pytorch(work: Work) -> Step:
    """PyTorch, eager."""
    import torch
    from torch import nn

    layers: list[Any] = []
    for w, b in zip(work.weights, work.biases, strict=True):
        layer = nn.Linear(w.shape[1], w.shape[0])
        layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=work.lr)
    x, labels = torch.tensor(work.x), torch.tensor(work.labels)

    def step() -> float:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def jax(work: Work) -> Step:
    """JAX, the whole step compiled."""
    import jax
    import jax.numpy as jnp

    def loss_of(layers: list[Any], x: Any, labels: Any) -> Any:
        for i, (w, b) in enumerate(layers):
            x = x @ w.T + b
            x = jax.nn.relu(x) if i < len(layers) - 1 else x
        scores = jax.nn.log_softmax(x)
        return -scores[jnp.arange(len(labels)), labels].mean()

    def learn(layers: list[Any], x: Any, labels: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(layers, x, labels)
        return loss, jax.tree.map(lambda p, g: p - work.lr * g, layers, gradients)

    pairs = zip(work.weights, work.biases, strict=True)
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in pairs]
    x, labels = jnp.asarray(work.x), jnp.asarray(work.labels)
    compiled = jax.jit(learn)

    def step() -> float:
        nonlocal layers
        loss, layers = compiled(layers, x, labels)
        return float(loss)

    return step


def mygrad(work: Work) -> Step:
    """MyGrad."""
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy

    weights = [mg.tensor(w.T.copy()) for w in work.weights]
    biases = [mg.tensor(b) for b in work.biases]

    def step() -> float:
        x: Any = work.x
        for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
            x = mg.matmul(x, w) + b
            x = relu(x) if i < len(weights) - 1 else x
        loss = softmax_crossentropy(x, work.labels)
        loss.backward()
        for parameter in (*weights, *biases):
            parameter.data -= np.float32(work.lr) * parameter.grad
            parameter.null_grad()
        return float(loss.item())

    return step


def hips_autograd(work: Work) -> Step:
    """HIPS autograd."""
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.scipy.special import logsumexp

    rows = np.arange(len(work.labels))

    def loss_of(parameters: list[Any]) -> Any:
        x: Any = work.x
        for i in range(0, len(parameters), 2):
            x = anp.dot(x, parameters[i].T) + parameters[i + 1]
            x = anp.maximum(x, 0) if i < len(parameters) - 2 else x
        return anp.mean(logsumexp(x, axis=1) - x[rows, work.labels])

    pairs = zip(work.weights, work.biases, strict=True)
    parameters = [array.copy() for pair in pairs for array in pair]
    gradient_of = value_and_grad(loss_of)

    def step() -> float:
        loss, gradients = gradient_of(parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter -= np.float32(work.lr) * gradient
        return float(loss)

    return step


#: The other libraries' steps, by the name they are imported under.
PEERS: dict[str, tuple[str, Callable[[Work], Step]]] = {
    "torch": ("PyTorch", pytorch),
    "jax": ("JAX, compiled", jax),
    "mygrad": ("MyGrad", mygrad),
    "autograd": ("HIPS autograd", hips_autograd),
}


def contestants(work: Work) -> list[Contestant]:
    """Everyone who is there."""
    return [
        Contestant("NumPy by hand", by_hand(work)),
        *(
            Contestant(f"tinymp {name}{how}", tinymp(work, policy, captured))
            for name, policy in POLICIES.items()
            for how, captured in HOW.items()
        ),
        *(Contestant(name, make(work)) for x, (name, make) in PEERS.items() if installed(x)),
    ]


def _race(
    sizes: tuple[int, ...], batch: int, fp32: Any, bf16: tuple[float, float], fp16: Any
) -> Race:
    goals = (fp32, bf16, bf16, fp16)
    return Race(
        f"training step, MLP {'-'.join(map(str, sizes))}, batch {batch}, SGD",
        "NumPy by hand",
        lambda: contestants(work(sizes, batch)),
        goals={
            f"tinymp {name}{how}": goal
            for name, goal in zip(POLICIES, goals, strict=True)
            for how in HOW
        },
    )


RACES = [
    _race((64, 128, 10), 64, (1.6, 1.4), (3.0, 2.5), (4.0, 3.0)),
    _race((784, 1024, 1024, 10), 256, (1.05, 1.0), (1.5, 1.3), (2.2, 1.7)),
]
