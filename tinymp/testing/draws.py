"""Uses of a function, drawn by hypothesis: shapes, layouts in memory, dimensions, options.

This module needs hypothesis, and `check_call` PyTorch, too; `tinymp.testing` does not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinymp.autograd import Tensor
from tinymp.formats import DType
from tinymp.ops import expand, tensor
from tinymp.testing.conditioning import conditioned_errors
from tinymp.testing.operation import Array, Errors, check_operation
from tinymp.testing.pytorch import pytorch_oracle

Shape = tuple[int, ...]
Function = Callable[..., Any]

LAYOUTS = ("contiguous", "transposed", "reversed", "strided", "repeated")


class Draws:
    """What a use of a function is made of; `dtype` is that of the tensors.

    `edges`: values, such as infinities, of which one element in four is made.
    """

    def __init__(self, data: Any, dtype: DType, edges: Sequence[float] = ()) -> None:
        self.draw = data.draw
        self.dtype = dtype
        self.edges = edges
        self.random = np.random.default_rng(self.integer(0, 2**16))

    def integer(self, least: int, most: int) -> int:
        """A number from `least` to `most`."""
        number: int = self.draw(st.integers(least, most))
        return number

    def one_of(self, *choices: Any) -> Any:
        """One of the choices."""
        return self.draw(st.sampled_from(choices))

    def shape(self, least_dims: int = 0, most_dims: int = 3, least: int = 0) -> Shape:
        """Lengths of at most 36 elements in all, 0 and 1 among them."""
        longest = 6 if most_dims == 1 else 5 if most_dims == 2 else 3
        lengths = st.lists(st.integers(least, longest), min_size=least_dims, max_size=most_dims)
        return tuple(self.draw(lengths))

    def broadcasting(self, count: int) -> list[Shape]:
        """Shapes that broadcast to one."""
        shapes = hnp.mutually_broadcastable_shapes(
            num_shapes=count, max_dims=3, min_side=0, max_side=3
        )
        return list(self.draw(shapes).input_shapes)

    def dim(self, shape: Shape, added: int = 0) -> int:
        """A dimension, counted from either end; one of `added` new ones, perhaps."""
        return self.integer(-len(shape) - added, len(shape) + added - 1)

    def dims(self, shape: Shape) -> tuple[int, ...]:
        """Several different dimensions, in any order, each counted from either end."""
        n = len(shape)
        if n == 0:
            return ()
        chosen = self.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=n, unique=True))
        return tuple(d - n * self.integer(0, 1) for d in chosen)

    def leaf(self, shape: Shape, low: float = -4.0, high: float = 4.0) -> Tensor:
        """Uniform values."""
        return self.laid_out(self.random.uniform(low, high, shape))

    def plain(self, shape: Shape, low: float = -4.0, high: float = 4.0) -> Tensor:
        """Uniform values without edges, as a leaf in row-major order."""
        return tensor(self.random.uniform(low, high, shape), self.dtype, requires_grad=True)

    def distinct(self, shape: Shape) -> Tensor:
        """Different multiples of 1/8, exact in every format, zero among them."""
        n = int(np.prod(shape))
        values = (self.random.permutation(n) - n // 2).reshape(shape) / 8
        return self.laid_out(values, LAYOUTS[:-1])

    def indices(self, shape: Shape, length: int) -> Tensor:
        """Positions along a dimension of `length`, int64; none where that is 0."""
        return tensor(self.random.integers(0, max(length, 1), shape))

    def mask(self, shape: Shape) -> Tensor:
        """True or false."""
        return tensor(self.random.random(shape) < 0.5)

    def laid_out(self, values: np.ndarray[Any, Any], layouts: Any = LAYOUTS) -> Tensor:
        """A leaf of these values, in memory in one of several ways."""
        if len(self.edges):
            here = self.random.random(values.shape) < 0.25
            values = np.where(here, self.random.choice(self.edges, values.shape), values)
        layout = self.one_of(*layouts)
        backwards = (slice(None, None, -1),) * values.ndim
        if layout == "transposed":
            x = tensor(values.T, self.dtype).T
        elif layout == "reversed":
            x = tensor(values[backwards], self.dtype)[backwards]
        elif layout == "strided" and values.ndim:
            x = tensor(np.repeat(values, 2, axis=-1), self.dtype)[..., ::2]
        elif layout == "repeated" and values.ndim and len(values):
            x = expand(tensor(values[:1], self.dtype), values.shape)
        else:
            x = tensor(values, self.dtype)
        leaf: Tensor = x.detach().requires_grad_()
        return leaf


@dataclass(frozen=True)
class Call:
    """One use of a function: ours and PyTorch's, of the same inputs.

    Attributes:
        ours, theirs: functions of as many tensors as there are `inputs`.
        inputs: the tensors.
        steps, options: for `conditioned_errors`.
        errors: bounds that derivatives do not give, instead.
        also: results of ours and theirs without gradient, which must be equal.
    """

    ours: Function
    theirs: Function
    inputs: list[Tensor]
    steps: float = 0
    options: dict[str, Any] = field(default_factory=dict)
    errors: Errors | None = None
    also: tuple[tuple[Function, Function], ...] = ()


def check_call(call: Call, dtype: DType) -> None:
    """Hold one use of a function against PyTorch: dtypes, values, gradients.

    Where a bound is not finite, because an input is not, NaN must be NaN and nothing else.

    Raises:
        AssertionError: says what differs.
    """
    import torch

    wide = [x.numpy() for x in call.inputs]
    theirs = [torch.tensor(v.astype(np.float64) if v.dtype.kind == "f" else v) for v in wide]
    exact = [(ours(*call.inputs), function(*theirs)) for ours, function in call.also]
    result = call.ours(*call.inputs)
    if result.dtype.is_float:
        bounds = call.errors or conditioned_errors(call.theirs, dtype, call.steps, **call.options)

        def errors(values: list[Array], out: Array, g: Array) -> list[float | Array]:
            with np.errstate(all="ignore"):
                return [np.where(np.isnan(bound), inf, bound) for bound in bounds(values, out, g)]

        check_operation(call.ours, pytorch_oracle(call.theirs), call.inputs, dtype, errors)
    else:
        assert not result.requires_grad
        exact.append((result, call.theirs(*theirs)))
    for found, expected in exact:
        assert found.dtype.name == str(expected.dtype).removeprefix("torch.")
        assert found.shape == tuple(expected.shape)
        np.testing.assert_array_equal(found.numpy(), expected.numpy())
