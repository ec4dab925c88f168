"""Initial values of parameters, written in place and returned, under PyTorch's names.

Values are computed in float32 and rounded once to the tensor's dtype, so a float16 layer starts
from the rounded values of the float32 layer of the same seed.
"""

from __future__ import annotations

from math import erf, prod, sqrt

import numpy as np

from tinymp.autograd import Tensor, no_grad
from tinymp.devices import get_device, normal, uniform
from tinymp.formats import float32

_GAINS = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": sqrt(2.0),
    "selu": 3 / 4,
}


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Numbers uniform in [a, b)."""
    return _write(tensor, a + (b - a) * uniform(tensor._device, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normally distributed numbers."""
    return _write(tensor, mean + std * normal(tensor._device, tensor.shape))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normally distributed numbers between `a` and `b`: those outside are drawn again.

    Raises:
        ValueError: `a` is not below `b`, or nearly nothing lies between them.
    """
    low, high = ((bound - mean) / std for bound in (a, b))
    inside = 0.5 * (erf(high / sqrt(2.0)) - erf(low / sqrt(2.0)))
    if not inside > 1e-3:
        raise ValueError(
            f"trunc_normal_ was given a={a} and b={b} for mean={mean} and std={std}; the first "
            "must be below the second, and more than a thousandth of the numbers between them"
        )
    values = normal(tensor._device, tensor.shape)
    while (wrong := (values < low) | (values > high)).any():
        values[wrong] = normal(tensor._device, (int(wrong.sum()),))
    return _write(tensor, mean + std * values)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix, zeros elsewhere.

    Raises:
        ValueError: not two dimensions.
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_ was given a tensor of shape {tensor.shape}; it takes a matrix")
    return _write(tensor, tensor._device.xp.eye(*tensor.shape, dtype=float32.storage))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """`gain` times a random matrix with orthonormal rows, or columns if there are fewer of them.

    Dimensions after the first count as one. Computed on the CPU, in float64.

    Raises:
        ValueError: fewer than two dimensions.

    Source: Saxe, McClelland & Ganguli, Exact Solutions to the Nonlinear Dynamics of Learning in
    Deep Linear Neural Networks (arXiv 1312.6120), section 3; uniform by the signs of R's diagonal:
    Mezzadri, How to Generate Random Matrices from the Classical Compact Groups (Notices of the AMS
    54(5), 2007).
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"orthogonal_ was given a tensor of shape {tensor.shape}; it takes two or more "
            "dimensions"
        )
    rows, columns = tensor.shape[0], prod(tensor.shape[1:])
    drawn = normal(get_device("cpu"), (max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(drawn.astype(np.float64))
    q = q * np.where(np.diagonal(r) < 0, -1, 1)
    values = gain * (q.T if rows < columns else q).reshape(tensor.shape)
    return _write(tensor, tensor._device.asarray(values.astype(np.float32)))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform with standard deviation gain·√(2 / (fan_in + fan_out)).

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks (AISTATS 2010), equation 16.
    """
    bound = sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with standard deviation gain·√(2 / (fan_in + fan_out)); see `xavier_uniform_`."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform with standard deviation gain / √fan.

    `a`: negative slope of the leaky ReLU that follows. `mode`: "fan_in" keeps the size of
    activations, "fan_out" that of gradients.

    Raises:
        ValueError: an unknown mode or nonlinearity, or a tensor of fewer than two dimensions.

    Source: He, Zhang, Ren & Sun, Delving Deep into Rectifiers (arXiv 1502.01852), section 2.2.
    """
    bound = sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with standard deviation gain / √fan; see `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def calculate_gain(nonlinearity: str, param: float = 0.01) -> float:
    """The factor by which PyTorch scales initial weights in front of `nonlinearity`.

    `param`: the negative slope of "leaky_relu"; the others have none.

    Raises:
        ValueError: an unknown nonlinearity.
    """
    if nonlinearity == "leaky_relu":
        return sqrt(2.0 / (1 + param**2))
    if nonlinearity not in _GAINS:
        raise ValueError(
            f"nonlinearity={nonlinearity!r} was given; it must be one of leaky_relu, "
            f"{', '.join(_GAINS)}"
        )
    return _GAINS[nonlinearity]


def fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output of a weight (out, in, ...) sees, and how many outputs each input.

    Raises:
        ValueError: a tensor of fewer than two dimensions.
    """
    if tensor.ndim < 2:
        raise ValueError(
            f"fan in and fan out were asked of a tensor of shape {tensor.shape}; they need at "
            "least two dimensions (out, in); give a bias constant_, uniform_ or normal_"
        )
    receptive_field = prod(tensor.shape[2:])
    return tensor.shape[1] * receptive_field, tensor.shape[0] * receptive_field


def _xavier_std(tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = fan_in_and_fan_out(tensor)
    return gain * sqrt(2.0 / (fan_in + fan_out))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), fan_in_and_fan_out(tensor), strict=True))
    if mode not in fans:
        raise ValueError(f"mode={mode!r} was given; it must be one of {', '.join(fans)}")
    return calculate_gain(nonlinearity, a) / sqrt(fans[mode])


def _write(tensor: Tensor, values: Tensor) -> Tensor:
    with no_grad():
        return tensor.copy_(Tensor(values, float32))
