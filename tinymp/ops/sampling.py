"""Random tensors, drawn from the default generator: the same seed gives the same on each device."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.devices import default_generator, get_device
from tinymp.formats import bool_, dtype_of, int64
from tinymp.ops.creation import DTypeLike, Shape, lengths_of, rand, randn, tensor
from tinymp.ops.dims import check_tensors
from tinymp.ops.linear_algebra import check_floats

Array = Any


def rand_like(x: Tensor, dtype: DTypeLike = None, requires_grad: bool = False) -> Tensor:
    """Numbers uniform in [0, 1), of the shape and dtype, and on the device, of `x`."""
    check_tensors("rand_like", x)
    return rand(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def randn_like(x: Tensor, dtype: DTypeLike = None, requires_grad: bool = False) -> Tensor:
    """Normally distributed numbers, of the shape and dtype, and on the device, of `x`."""
    check_tensors("randn_like", x)
    return randn(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def randint(
    low: int,
    high: int | None = None,
    size: int | Shape = (),
    dtype: DTypeLike = None,
    device: str = "cpu",
) -> Tensor:
    """Integers from `low` to `high` - 1, each equally likely, int64; one bound counts from 0.

    64 random bits are taken modulo the number of integers, so none is likelier than another by
    more than one part in 2^64 / (high - low).

    Raises:
        ValueError: nothing lies between the bounds.
    """
    if high is None:
        low, high = 0, low
    if high <= low:
        raise ValueError(
            f"randint was given low={low} and high={high}; the second must be the larger one"
        )
    shape = lengths_of((size,))
    place = get_device(device)
    count = int(np.prod(shape))
    words = default_generator().words(place, 2 * count).reshape(-1, 2).astype(np.uint64)
    numbers = ((words[:, 0] << np.uint64(32)) | words[:, 1]) % np.uint64(high - low)
    integers = Tensor(numbers.astype(np.int64).reshape(shape) + low, int64)
    return integers if dtype is None else integers.to(dtype_of(dtype))


def randperm(n: int, device: str = "cpu") -> Tensor:
    """The integers 0 to n - 1 in a random order, int64: sorted by random words.

    Raises:
        ValueError: a negative `n`.
    """
    if n < 0:
        raise ValueError(f"randperm was given n={n}; it must be at least 0")
    place = get_device(device)
    words = default_generator().words(place, 2 * n).reshape(-1, 2).astype(np.uint64)
    keys = (words[:, 0] << np.uint64(32)) | words[:, 1]
    return Tensor(place.xp.argsort(keys, kind="stable").astype(np.int64), int64)


def bernoulli(p: Tensor) -> Tensor:
    """1 with probability `p`, else 0, in the dtype of `p`; no gradient.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: a number outside [0, 1].
    """
    check_floats("bernoulli", p)
    chances = p._values()
    if not ((chances >= 0) & (chances <= 1)).all():
        raise ValueError("bernoulli was given a number outside [0, 1]; it takes probabilities")
    drawn = default_generator().uniform(p._device, p.shape) < chances
    return Tensor(drawn, bool_).to(p.dtype)


def multinomial(weights: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    """`num_samples` positions from each row, int64, a position by its share of the row's weights.

    `weights`: (n,) or (rows, n), at least 0, not all of a row 0; they need not add up to 1. Without
    `replacement` no position comes twice. Each is the largest of w / e with e exponential, which
    draws by the weights w, several without replacement (Efraimidis & Spirakis, Weighted Random
    Sampling with a Reservoir, 2006). No gradient.

    Raises:
        TypeError: an integer or boolean tensor.
        ValueError: other dimensions, a negative or infinite weight, more samples than there are
            positions with a weight.
    """
    check_floats("multinomial", weights)
    if weights.ndim not in (1, 2) or weights.shape[-1] == 0:
        raise ValueError(
            f"multinomial was given weights of shape {weights.shape}; it takes (n,) or (rows, n)"
        )
    values = weights.numpy().astype(np.float64)
    most = int((values > 0).sum(-1).min()) if values.size else 0
    enough = most >= 1 if replacement else 0 < num_samples <= most
    if not np.isfinite(values).all() or (values < 0).any() or not enough or num_samples < 1:
        raise ValueError(
            f"multinomial was given num_samples={num_samples} for weights of shape "
            f"{weights.shape}; weights must be finite and at least 0, and without replacement "
            f"there must be as many above 0 as samples: here {most}"
        )
    draws = (num_samples, *values.shape) if replacement else values.shape
    words = default_generator().words(get_device("cpu"), int(np.prod(draws))).reshape(draws)
    keys = values / -np.log((words + 0.5) * 2.0**-32)
    if replacement:
        chosen = np.moveaxis(np.argmax(keys, -1), 0, -1)
    else:
        chosen = np.argsort(-keys, axis=-1, kind="stable")[..., :num_samples]
    return tensor(chosen.astype(np.int64), device=weights.device)
