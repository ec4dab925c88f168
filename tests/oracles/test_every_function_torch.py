"""Every public function against PyTorch on the CPU: value, dtype, gradient and gradient dtype.

Hypothesis draws shapes (axes of length 0 and 1, broadcasting), layouts in memory, dimensions
counted from either end, options and the rounding mode. PyTorch computes in float64, and its
derivatives bound what computing in float32 may lose before the one rounding
(`testing.conditioning`). Bounds that derivatives cannot give, of normalisation and attention, are
worked out here from the sizes of intermediate results.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymp as mp
from tinymp.autograd.op import OPS
from tinymp.testing import pytorch_oracle, unit_roundoff

torch = pytest.importorskip("torch")
from tinymp.testing.conditioning import conditioned_errors  # noqa: E402
from tinymp.testing.draws import Call, Draws, check_call  # noqa: E402

F = torch.nn.functional
FLOATS = [mp.float64, mp.float32, mp.float16, mp.bfloat16]
INF, NAN = float("inf"), float("nan")
EXAMPLES = settings.default.max_examples // 25  # of each function in each dtype: 4, or 40
Draw = Callable[[Draws], Call]


def there(x: Any) -> Any:
    """An argument as PyTorch takes it, floats in float64."""
    if not isinstance(x, mp.Tensor):
        return x
    return torch.tensor(x.numpy()).double() if x.dtype.is_float else torch.tensor(x.numpy())


def theirs_of(name: str) -> Any:
    return getattr(F, name, None) or getattr(torch, name)


def same(name: str, inputs: list[Any], *arguments: Any, steps: float = 0, **rest: Any) -> Call:
    """The function of one name in both libraries, of the inputs and then these arguments."""
    fields = {k: rest.pop(k) for k in ("options", "errors", "also") if k in rest}
    ours, theirs = getattr(mp.ops, name), theirs_of(name)
    given = [there(x) for x in arguments]
    named = {k: there(x) for k, x in rest.items()}
    return Call(
        lambda *x: ours(*x, *arguments, **rest),
        lambda *x: theirs(*x, *given, **named),
        inputs,
        steps,
        **fields,
    )


def either(function: Callable[..., Any], inputs: list[Any], **rest: Any) -> Call:
    """A function that works on the tensors of both libraries alike."""
    return Call(function, function, inputs, **rest)


def unit(dtype: Any) -> float:
    """Unit roundoff of computing, twice that of float64, in which PyTorch errs as much."""
    return unit_roundoff(dtype) * (2 if dtype is mp.float64 else 1)


# Where the gradient is computed from the stored result: how, of g, the result and the inputs.
FROM_RESULT: dict[str, Callable[..., Any]] = {
    "exp": lambda g, out, x: [g * out],
    "sqrt": lambda g, out, x: [g / (2 * out)],
    "tanh": lambda g, out, x: [g * (1 - out * out)],
    "sigmoid": lambda g, out, x: [g * out * (1 - out)],
}
EXACT_FROM_RESULT = {"relu", "amax", "amin", "median"}  # they compare with it, which is exact


# Element by element


def unary(
    name: str,
    low: float,
    high: float,
    steps: float,
    *choices: Any,
    composed: bool = False,
    **options: Any,
) -> Draw:
    """`choices`: further arguments, one of which is drawn. `composed`: of operations that round."""
    if name in FROM_RESULT:
        options["from_result"] = FROM_RESULT[name]

    def draw(d: Draws) -> Call:
        named = d.one_of(*choices) if choices else {}
        if composed:
            options["unit"] = d.dtype.unit_roundoff("toward_zero")
        return same(name, [d.leaf(d.shape(), low, high)], steps=steps, options=options, **named)

    return draw


def binary(name: str, first: Any, second: Any, steps: float, **options: Any) -> Draw:
    """Of two tensors that broadcast, or of a tensor and a number."""

    def draw(d: Draws) -> Call:
        x, y = d.broadcasting(2)
        number = d.one_of(None, None, 1.5, 3)
        if number is None:
            return same(name, [d.leaf(x, *first), d.leaf(y, *second)], steps=steps, options=options)
        ours, theirs = getattr(mp, name), getattr(torch, name)
        if d.one_of(True, False):
            return Call(
                lambda x: ours(x, number),
                lambda x: theirs(x, torch.tensor(number, dtype=x.dtype)),
                [d.leaf(x, *first)],
                steps,
            )
        return Call(
            lambda y: ours(number, y),
            lambda y: theirs(torch.tensor(number, dtype=y.dtype), y),
            [d.leaf(y, *second)],
            steps,
            {"from_result": lambda g, out, y: [g * out * np.log(number)]} if options else {},
        )

    return draw


def _pow_from_result(g: Any, out: Any, x: Any, y: Any) -> list[Any]:
    return [torch.zeros_like(x), (g * out * torch.log(x)).sum_to_size(y.shape)]


def compared(name: str) -> Draw:
    return lambda d: same(name, [d.distinct(shape) for shape in d.broadcasting(2)])


def of_choice(name: str, count: int, values: list[float]) -> Draw:
    """Of tensors that hold some of these values."""
    return lambda d: same(
        name,
        [d.laid_out(d.random.choice(values, shape)) for shape in d.broadcasting(count)],
    )


def bits(name: str, count: int) -> Draw:
    def draw(d: Draws) -> Call:
        dtype = d.one_of(mp.int64, mp.bool)
        shapes = d.broadcasting(count)
        return same(name, [mp.tensor(d.random.integers(-4, 5, s), dtype) for s in shapes])

    return draw


def floor_divide(d: Draws) -> Call:
    """PyTorch's has no gradient, here it is 0."""
    x, y = d.broadcasting(2)
    inputs = [d.leaf(x).detach(), d.leaf(y, 0.125, 8.0).detach()]
    return same("floor_divide", inputs, errors=lambda values, out, g: [0.0] * 3)


def where(d: Draws) -> Call:
    condition, x, y = d.broadcasting(3)
    mask = d.mask(condition)
    inputs = [d.leaf(x), d.leaf(y)]
    return Call(
        lambda x, y: mp.where(mask, x, y), lambda x, y: torch.where(there(mask), x, y), inputs
    )


def masked_fill(d: Draws) -> Call:
    shape = d.shape()
    mask = d.mask(d.one_of(shape, shape[1:], tuple(1 for _ in shape)))
    return same("masked_fill", [d.leaf(shape)], mask, d.one_of(-1.5, 0, INF))


def clamp(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        bounds = d.one_of({"min": -1, "max": 1.5}, {"min": 0.1}, {"max": -1})
        return same(name, [d.leaf(d.shape())], **bounds)

    return draw


def cast(name: str) -> Draw:
    """To another dtype and back: both round to nearest even here and there."""

    def draw(d: Draws) -> Call:
        x, through = d.leaf(d.shape()), d.one_of(mp.float64, mp.float32)
        function = getattr(mp, name)
        bound = 2.0**-24 * (d.dtype is mp.float64 and through is mp.float32)
        return Call(
            lambda x: function(function(x, through), d.dtype),
            lambda x: x * 1.0,
            [x],
            errors=lambda values, out, g: [bound * np.abs(out), bound * np.abs(g)],
        )

    return draw


# Along dimensions


def reduction(name: str, steps: float, low: float = -4.0, least: int = 0, **options: Any) -> Draw:
    """Along one, several or all dimensions."""

    def draw(d: Draws) -> Call:
        shape = d.shape(least > 1, least=least)
        dim = d.one_of(d.dims(shape), tuple(range(len(shape))), *d.dims(shape)[:1])
        keep = d.one_of(False, True)
        x = d.leaf(shape, low)
        if d.one_of(True, False, False) and name not in ("logsumexp", "norm"):
            return same(name, [x], steps=steps, options=options)
        return same(name, [x], dim=dim, keepdim=keep, steps=steps, options=options)

    return draw


def std(d: Draws) -> Call:
    """Deviations are off by what their mean lost, however small they are."""
    shape = d.shape(1, least=2)
    dim, correction = d.dims(shape), d.one_of(0, 1)
    theirs = lambda x: x.std(dim, correction=correction)  # noqa: E731
    conditioned = conditioned_errors(theirs, d.dtype, 10)

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        value, gradient = conditioned(values, out, g)
        (x,) = values
        terms = x.size // out.size
        lost = (terms + 10) * unit(d.dtype) * 2 * np.abs(x).max()
        slope = np.abs(g / out).max() / (terms - correction)
        return [value, gradient + 2 * lost * slope]

    return either(theirs, [d.leaf(shape)], errors=errors)


def normalized(name: str) -> Draw:
    """Norms, quotients and products, each rounded."""

    def draw(d: Draws) -> Call:
        shape = d.shape(1, least=2)
        dim = d.dim(shape)
        between = {"unit": 4 * d.dtype.unit_roundoff("toward_zero")}
        inputs = [d.leaf(shape, 0.5), d.leaf(shape)][: 1 + (name != "normalize")]
        if name == "normalize":
            return same(name, inputs, d.one_of(2.0, 1.0), dim, steps=40, options=between)
        return same(name, inputs, dim, steps=60, options=between)

    return draw


def norm(d: Draws) -> Call:
    shape = d.shape(1, least=1)
    dim = d.one_of(d.dims(shape)[:2], d.dim(shape))  # PyTorch takes no more for "fro"
    p = d.one_of(2, 1, 0, 3.5, INF, -INF, "fro")
    x = d.leaf(shape)
    return same("norm", [x], p, dim, d.one_of(False, True), steps=60 if p == 3.5 else 20)


def one_dim(name: str, steps: float, least: int = 0, **options: Any) -> Draw:
    """Along one dimension."""

    def draw(d: Draws) -> Call:
        shape = d.shape(1, least=least)
        return same(name, [d.leaf(shape)], d.dim(shape), steps=steps, options=options)

    return draw


def chosen(name: str) -> Draw:
    """Values along a dimension and where they are; their gradients go back there."""

    def draw(d: Draws) -> Call:
        shape = d.shape(1, least=1)
        dim, keep = d.dim(shape), d.one_of(False, True)
        options: tuple[Any, ...] = (dim, keep)
        if name == "topk":
            options = (d.integer(0, shape[dim]), dim, keep)
        function = lambda x: getattr(x, name)(*options)  # noqa: E731
        return either(
            lambda x: function(x).values,
            [d.distinct(shape)],
            also=((lambda x: function(x).indices,) * 2,),
        )

    return draw


def whole(name: str) -> Draw:
    """Of all elements."""
    return lambda d: same(name, [d.distinct(d.shape(least=1))])


def place(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        shape = d.shape(1, least=1)
        if name == "argsort":
            options: tuple[Any, ...] = (d.dim(shape), d.one_of(False, True))
        else:
            options = (d.one_of(None, d.dim(shape)), d.one_of(False, True))
        return either(lambda x: getattr(x, name)(*options), [d.distinct(shape)])

    return draw


def truth(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        shape = d.shape()
        x = d.laid_out(d.random.choice([0.0, -0.0, 1.0, NAN], shape))
        dim = d.one_of(None, *d.dims(shape))
        if name == "count_nonzero":
            return same(name, [x], d.one_of(dim, d.dims(shape) or None))
        if dim is None:
            return same(name, [x])
        return same(name, [x], dim, d.one_of(False, True))

    return draw


def softmax(name: str) -> Draw:
    """The largest element is taken off first: exponents err by its size, and the result is kept."""

    def back(g: Any, out: Any, x: Any, dim: int) -> list[Any]:
        if name == "softmax":
            return [out * (g - (g * out).sum(dim, keepdim=True))]
        return [g - torch.exp(out) * g.sum(dim, keepdim=True)]

    def draw(d: Draws) -> Call:
        shape = d.shape(1)
        dim = d.dim(shape)
        options = {"from_result": lambda g, out, x: back(g, out, x, dim)}
        if name == "log_softmax":
            options["cancelling"] = lambda x: 2 * x.abs().amax() + 0 * x if x.numel() else x
        return same(name, [d.leaf(shape)], dim, steps=30, options=options)

    return draw


# Products


def bilinear(theirs: Any, dtype: Any, length: float) -> Any:
    """γ_n for n = `length`: sums and gradients of sums of products, of their absolute values."""

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        terms, sums = pytorch_oracle(theirs)([np.abs(v) for v in values], np.abs(g))
        return [1.01 * length * unit(dtype) * bound for bound in (terms, *sums)]

    return errors


def moved_and_added(theirs: Any, dtype: Any, length: float) -> Any:
    """Elements are chosen; their gradients meet in sums of `length` terms or roundings."""

    def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
        _, sums = pytorch_oracle(theirs)(values, np.abs(g))
        return [0.0, *[1.01 * length * unit(dtype) * bound for bound in sums]]

    return errors


def product(name: str, *dims: int) -> Draw:
    """Of operands with the given numbers of dimensions; 0 stands for any number of stacks."""

    def draw(d: Draws) -> Call:
        n, k, m, b = (d.integer(0, 4) for _ in range(4))
        shapes = {
            "mm": [(n, k), (k, m)],
            "mv": [(n, k), (k,)],
            "bmm": [(b, n, k), (b, k, m)],
            "dot": [(k,), (k,)],
            "outer": [(n,), (m,)],
        }.get(name)
        if shapes is None:
            front = d.broadcasting(2)
            first = d.one_of((*front[0], n, k), (k,))
            shapes = [first, d.one_of((*front[1], k, m), (k,))]
        length = 3 + max(n, k, m, 1) * 9
        theirs = theirs_of(name)
        return same(name, [d.leaf(s) for s in shapes], errors=bilinear(theirs, d.dtype, length))

    return draw


def linear(d: Draws) -> Call:
    *front, k = d.shape(1)
    m = d.integer(0, 4)
    inputs = [d.leaf((*front, k)), d.leaf((m, k))] + [d.leaf((m,))] * d.integer(0, 1)
    length = 2 + max(k, m, prod(front))
    return same("linear", inputs, errors=bilinear(F.linear, d.dtype, length))


def einsum(d: Draws) -> Call:
    """Of two operands whose letters are drawn: each is shared, summed over, or kept."""
    size = {letter: d.integer(1, 3) for letter in "abcd"}
    some = st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map("".join)
    terms = [d.draw(some), d.draw(some)]
    present = sorted(set("".join(terms)))
    kept = "".join(letter for letter in present if d.integer(0, 1))
    equation = f"{terms[0]},{terms[1]}->{kept}"
    theirs = lambda *x: torch.einsum(equation, *x)  # noqa: E731
    inputs = [d.leaf(tuple(size[letter] for letter in term)) for term in terms]
    # A sum before a product is rounded in between.
    between = d.dtype.unit_roundoff("toward_zero") / unit_roundoff(d.dtype)
    return Call(
        lambda *x: mp.einsum(equation, *x),
        theirs,
        inputs,
        errors=bilinear(theirs, d.dtype, 81 + 3 * between),
    )


# Where elements go


def moved(draw: Callable[[Draws, Any], Any], least_dims: int = 0, least: int = 0) -> Draw:
    """`draw(d, shape)` draws a function that works in both libraries, of a tensor of the shape."""

    def drawn(d: Draws) -> Call:
        shape = d.shape(least_dims, least=least)
        return either(draw(d, shape), [d.distinct(shape)])

    return drawn


def reshaped(name: str) -> Draw:
    def draw(d: Draws, shape: Any) -> Any:
        size = prod(shape)
        divisors = [n for n in range(1, max(size, 1) + 1) if size % n == 0]
        first = d.one_of(*divisors)
        new = d.one_of((first, size // first), (-1, first) if size else (0, first), (first, -1, 1))
        if size == 0 and -1 in new:
            new = (0, 2)
        return lambda x: getattr(x, name)(new) if name != "view" else x[...].reshape(new)

    return moved(draw)


def _parts(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        shape = d.shape(1)
        dim = d.dim(shape)
        n = shape[dim]
        if name == "unbind":
            options: tuple[Any, ...] = (dim,)
        elif name == "chunk":
            options = (d.integer(1, 4), dim)
        else:
            cut = d.integer(0, n)
            options = (d.one_of(d.integer(1, 4), [cut, n - cut]), dim)
        count = len(getattr(torch.zeros(shape), name)(*options))
        number = d.integer(0, max(count - 1, 0))

        def part(x: Any) -> Any:
            parts = getattr(x, name)(*options)
            assert len(parts) == count
            return parts[number] if parts else x

        return either(part, [d.distinct(shape)])

    return draw


def joined(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        shape = list(d.shape(1, most_dims=2))
        dim = d.dim(tuple(shape), added=name == "stack")
        inputs = []
        for _ in range(d.integer(1, 3)):
            if name != "stack":
                shape[dim] = d.integer(0, 3)
            inputs.append(d.distinct(tuple(shape)))
        ours, theirs = getattr(mp, name), getattr(torch, name)
        return Call(lambda *x: ours(list(x), dim), lambda *x: theirs(list(x), dim), inputs)

    return draw


def pad(d: Draws) -> Call:
    shape = d.shape(1)
    widths = tuple(d.integer(0, 2) for _ in range(2 * d.integer(1, len(shape))))
    mode = d.one_of("constant", "reflect", "replicate", "circular")
    if mode == "constant":
        return same("pad", [d.distinct(shape)], widths, value=d.one_of(0.0, -1.5, INF))
    last = d.integer(3, 4)  # PyTorch pads the last one or two dimensions of three or four
    image = (d.integer(1, 2), 1, last, last)[: d.integer(3, 4)]
    widths = tuple(d.integer(0, 2) for _ in range(2 * (len(image) - 2)))
    return same("pad", [d.distinct(image)], widths, mode)


def expanded(d: Draws, shape: Any) -> Any:
    """A leading length or two, and every length of 1 repeated; in front of a -1 for some."""
    kept = [d.integer(0, 3) if n == 1 else d.one_of(n, -1) for n in shape]
    front = [d.integer(0, 2) for _ in range(d.integer(0, 1))]
    return lambda x: x.expand((*front, *kept))


def broadcast_to(d: Draws) -> Call:
    x, y = d.broadcasting(2)
    full = np.broadcast_shapes(x, y)
    return same("broadcast_to", [d.distinct(x)], full)


def flattened(d: Draws, shape: Any) -> Any:
    dims = sorted(d.integer(0, len(shape) - 1) for _ in range(2))
    first, last = (n - len(shape) * d.integer(0, 1) for n in dims)
    return lambda x: x.flatten(first, last)


def permuted(d: Draws, shape: Any) -> Any:
    order = d.draw(st.permutations(range(len(shape))))
    dims = [n - len(shape) * d.integer(0, 1) for n in order]
    return lambda x: x.permute(dims)


def two_dims(name: str) -> Draw:
    def draw(d: Draws, shape: Any) -> Any:
        a, b = d.dim(shape), d.dim(shape)
        return lambda x: getattr(x, name)(a, b)

    return moved(draw, 1)


def squeezed(d: Draws, shape: Any) -> Any:
    dim = d.one_of(None, d.dim(shape)) if shape else None
    return lambda x: x.squeeze() if dim is None else x.squeeze(dim)


def unsqueezed(d: Draws, shape: Any) -> Any:
    dim = d.dim(shape, added=1)
    return lambda x: x.unsqueeze(dim)


def triangle(name: str) -> Draw:
    def draw(d: Draws, shape: Any) -> Any:
        diagonal = d.integer(-3, 3)
        return lambda x: getattr(x, name)(diagonal)

    return moved(draw, 2)


def diagonal(d: Draws, shape: Any) -> Any:
    a, b = d.draw(st.permutations(range(len(shape))))[:2]
    offset, a = d.integer(-3, 3), a - len(shape) * d.integer(0, 1)
    return lambda x: x.diagonal(offset, a, b)


def flipped(d: Draws, shape: Any) -> Any:
    dims = d.dims(shape)
    return lambda x: x.flip(dims)


def rolled(d: Draws, shape: Any) -> Any:
    dims = d.dims(shape)
    shifts = tuple(d.integer(-4, 4) for _ in dims)
    if not dims or d.one_of(True, False):
        return lambda x: x.roll(3)
    return lambda x: x.roll(shifts, dims)


def tiled(d: Draws, shape: Any) -> Any:
    times = tuple(d.integer(0, 2) for _ in range(d.integer(0, 4)))
    return lambda x: x.tile(times)


def repeated(d: Draws) -> Call:
    shape = d.shape(1)
    dim = d.one_of(None, d.dim(shape))
    return same("repeat_interleave", [d.distinct(shape)], d.integer(0, 3), dim)


def moved_dims(name: str) -> Draw:
    def draw(d: Draws, shape: Any) -> Any:
        source = d.dims(shape)
        places = d.draw(st.permutations(range(len(shape))))[: len(source)]
        return lambda x: getattr(x, name)(source, tuple(places))

    return moved(draw, 1)


# Choosing elements


def gather(d: Draws) -> Call:
    shape = d.shape(1, least=1)
    dim = d.dim(shape)
    index = [d.integer(0, n) for n in shape]
    index[dim] = d.integer(0, 5)
    return same("gather", [d.leaf(shape)], dim, d.indices(tuple(index), shape[dim]))


def take_along_dim(d: Draws) -> Call:
    shape = d.shape(1, least=1)
    dim = d.dim(shape)
    index = list(shape)
    index[dim] = d.integer(0, 5)
    return same("take_along_dim", [d.leaf(shape)], d.indices(tuple(index), shape[dim]), dim)


def index_select(d: Draws) -> Call:
    shape = d.shape(1, least=1)
    dim = d.dim(shape)
    return same("index_select", [d.leaf(shape)], dim, d.indices((d.integer(0, 5),), shape[dim]))


def scatter_add(d: Draws) -> Call:
    shape = d.shape(1, least=1)
    dim = d.dim(shape)
    lengths = [d.integer(0, n) for n in shape]
    lengths[dim] = d.integer(0, 4)
    index = d.indices(tuple(lengths), shape[dim])
    source = tuple(n + d.integer(0, 1) for n in lengths)
    used = tuple(slice(n) for n in lengths)  # what is left, PyTorch's backward does not take
    return Call(
        lambda x, y: x.scatter_add(dim, index, y),
        lambda x, y: x.scatter_add(dim, there(index), y[used]),
        [d.leaf(shape), d.leaf(source)],
        steps=2,
    )


def embedding(d: Draws) -> Call:
    rows, features = d.integer(1, 4), d.integer(0, 3)
    tokens = d.indices(d.shape(most_dims=2), rows)
    return Call(
        lambda w: mp.embedding(tokens, w),
        lambda w: w[there(tokens)],  # F.embedding of no tokens has no second derivative
        [d.leaf((rows, features))],
    )


# Losses


def class_loss(name: str) -> Draw:
    """Scores below 4: logsumexp and the score of the label, which it is less, are below 8."""

    def draw(d: Draws) -> Call:
        classes, front = d.integer(1, 5), d.integer(1, 4)
        shape = d.one_of((classes,), (front, classes), (front, classes, d.integer(1, 2)))
        labels = d.indices((shape[0], *shape[2:]) if len(shape) > 1 else (), classes)
        options: dict[str, Any] = {"reduction": d.one_of("mean", "sum", "none")}
        if d.one_of(True, False):
            options["weight"] = d.plain((classes,), 0.5, 2).detach()
        # Of nothing PyTorch makes 0 / 0, and so does tinymp; of an infinity in an ignored row it
        # makes NaN, which here has gradient 0, whatever it holds.
        if labels.size > 1 and not d.edges:
            options["ignore_index"] = d.one_of(-100, labels.numpy().flat[0].item())
        if name == "cross_entropy":
            options["label_smoothing"] = d.one_of(0.0, 0.25)

        def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
            every = (2 * classes + labels.size + 60) * unit(d.dtype)
            count = labels.size if options["reduction"] == "sum" else 1
            return [every * 8 * 2 * count, every * 2 * np.abs(g).max(initial=0)]

        return same(name, [d.leaf(shape)], labels, errors=errors, **options)

    return draw


def pair_loss(name: str, *choices: dict[str, Any]) -> Draw:
    def draw(d: Draws) -> Call:
        shape = d.shape(least=1)
        options = dict(d.one_of(*choices)) if choices else {}
        reduction = d.one_of("mean", "sum", "none")
        low = 0.125 if name[0] in "bk" else -4.0  # the target is a probability
        second = d.plain if low > 0 else d.leaf
        first = d.plain(shape, 0.125, 0.875) if name == "binary_cross_entropy" else d.leaf(shape)
        inputs = [first, second(shape, low, 1.0 if low > 0 else 4.0)]
        if "weight" in options:
            options["weight"] = d.plain(shape[1:], 0.5, 2).detach()
        if "pos_weight" in options:
            options["pos_weight"] = d.plain(shape[-1:], 0.5, 2).detach()
        return same(name, inputs, reduction=reduction, steps=40, **options)

    return draw


# Normalisation


def normalised(name: str) -> Draw:
    def draw(d: Draws) -> Call:
        n, eps = d.integer(2, 6), d.one_of(1e-5, 0.1)
        if name in ("layer_norm", "rms_norm"):
            last = d.one_of((n,), (2, n))
            shape = (*d.shape(most_dims=2), *last)
            arguments: tuple[Any, ...] = (last,)
            parameters, axes = last, tuple(range(-len(last), 0))
        else:
            groups = d.integer(1, 2)
            shape = (d.integer(1, 3), groups * d.integer(1, 2), n)
            arguments = (groups,) if name == "group_norm" else (None, None)
            parameters, axes = shape[1:2], (0, 2)
        count = d.integer(0, 2 - (name == "rms_norm"))
        inputs = [d.leaf(shape), *(d.plain(parameters) for _ in range(count))]
        rest = (True,) if name == "batch_norm" else ()

        def call(library: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
            if name == "rms_norm":
                return library.rms_norm(x, last, weight, eps)
            given = (*arguments, weight, bias, *rest)
            return getattr(library, name)(x, *given, eps=eps)

        def errors(values: list[Any], out: Any, g: Any) -> list[Any]:
            x, *given = values
            if name == "group_norm":
                rows, over = x.reshape(shape[0], arguments[0], -1), (-1,)
            else:
                rows, over = x, axes
            terms = prod(rows.shape[i] for i in over)
            mean = 0 if name == "rms_norm" else rows.mean(over, keepdims=True)
            rstd = (1 / np.sqrt(((rows - mean) ** 2).mean(over) + eps)).max(initial=0)
            # Mean and variance of n terms; rstd magnifies what the deviations lose. Then it is a
            # few products, at most (1 + |normalised|²) times the gradient.
            size = np.abs(x).max(initial=1)
            lost = (4 * terms + 16) * unit(d.dtype) * size**2 * (1 + rstd**3)
            scale = np.abs(given[0]).max(initial=1) if given else 1.0
            total = np.abs(g).sum() * (x.size + terms + 4)
            return [lost * scale, lost * scale * np.abs(g).sum() * terms, *[lost * total] * count]

        return Call(lambda *x: call(mp, *x), lambda *x: call(F, *x), inputs, errors=errors)

    return draw


# Windows


def convolution(name: str) -> Draw:
    n = 1 if name.endswith("1d") else 2
    transposed = "transpose" in name

    def draw(d: Draws) -> Call:
        def lengths(least: int, most: int) -> Any:
            return d.integer(least, most) if n == 1 else tuple(d.integer(least, most) for _ in "hw")

        kernel = tuple(d.integer(1, 2) for _ in range(n))
        stride, dilation, groups = lengths(1, 2), lengths(1, 2), d.integer(1, 2)
        size = tuple(d.integer(3, 5) for _ in range(n))
        channels, results = (groups * d.integer(1, 2) for _ in range(2))
        options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        options["padding"] = lengths(0, 1)
        if transposed:
            options["output_padding"] = 0
        elif d.one_of(True, False):
            kernel = (d.one_of(1, 3),) * n  # of even lengths PyTorch warns
            options |= {"padding": "same", "stride": 1}
        shape = (channels, results // groups) if transposed else (results, channels // groups)
        inputs = [d.leaf((d.integer(0, 2), channels, *size)), d.leaf((*shape, *kernel))]
        inputs += [d.leaf((results,))] * d.integer(0, 1)
        theirs = theirs_of(name)
        named = lambda *x: theirs(*x, **options)  # noqa: E731
        errors = bilinear(named, d.dtype, 4 + 2 * max(prod(size) * 4, 4 * prod(kernel)))
        return same(name, inputs, errors=errors, **options)

    return draw


def pooling(name: str) -> Draw:
    n = 1 if name.endswith("1d") else 2

    def draw(d: Draws) -> Call:
        size = tuple(d.integer(3, 5) for _ in range(n))
        x = d.distinct((*d.one_of((1, 2), (2, 1), (1, 1)), *size))
        if "adaptive" in name:
            parts = tuple(d.integer(1, 3) for _ in range(n))
            given = parts if n == 2 else parts[0]
            # Parts that share elements are means of their own, whose gradients are rounded.
            between = 2 * d.dtype.unit_roundoff("toward_zero") / unit_roundoff(d.dtype)
            errors = bilinear(lambda x: theirs_of(name)(x, given), d.dtype, 30 + 9 * between)
            if "max" in name:
                errors = moved_and_added(lambda x: theirs_of(name)(x, given), d.dtype, 9 * between)
            return same(name, [x], given, errors=errors)
        kernel = tuple(d.integer(1, 3) for _ in range(n))
        options: dict[str, Any] = {"stride": d.one_of(None, 1, 2)}
        options["padding"] = tuple(d.integer(0, k // 2) for k in kernel)
        if n == 1:
            options["padding"], kernel = options["padding"][0], kernel[0]
        options["ceil_mode"] = d.one_of(False, True)
        if name.startswith("max"):
            return same(name, [x], kernel, **options)
        options["count_include_pad"] = d.one_of(True, False)
        errors = bilinear(lambda x: theirs_of(name)(x, kernel, **options), d.dtype, 12)
        return same(name, [x], kernel, errors=errors, **options)

    return draw


WIDE, POSITIVE = (-4.0, 4.0), (0.125, 8.0)
size_of = lambda x: 1 + x.abs()  # noqa: E731

CASES: dict[str, Draw] = {
    "abs": unary("abs", *WIDE, 0),
    "neg": unary("neg", *WIDE, 0),
    "relu": unary("relu", *WIDE, 0),
    "sign": unary("sign", *WIDE, 0),
    "floor": unary("floor", *WIDE, 0),
    "ceil": unary("ceil", *WIDE, 0),
    "round": unary("round", *WIDE, 0),
    "trunc": unary("trunc", *WIDE, 0),
    "exp": unary("exp", *WIDE, 10),
    "expm1": unary("expm1", *WIDE, 10),
    "log": unary("log", *POSITIVE, 10),
    "log1p": unary("log1p", -0.75, 8.0, 10),
    "log2": unary("log2", *POSITIVE, 10),
    "log10": unary("log10", *POSITIVE, 10),
    "sqrt": unary("sqrt", *POSITIVE, 3),
    "rsqrt": unary("rsqrt", *POSITIVE, 8),
    "square": unary("square", *WIDE, 10),
    "reciprocal": unary("reciprocal", *POSITIVE, 4),
    "sin": unary("sin", *WIDE, 10),
    "cos": unary("cos", *WIDE, 10),
    "tan": unary("tan", -1.5, 1.5, 30),
    "asin": unary("asin", -0.99, 0.99, 12),
    "acos": unary("acos", -0.99, 0.99, 12),
    "atan": unary("atan", *WIDE, 12),
    "sinh": unary("sinh", *WIDE, 10),
    "cosh": unary("cosh", *WIDE, 10),
    "tanh": unary("tanh", *WIDE, 10),
    "asinh": unary("asinh", *WIDE, 12),
    "acosh": unary("acosh", 1.125, 8.0, 12),
    "atanh": unary("atanh", -0.9, 0.9, 12),
    "relu6": unary("relu6", -4.0, 8.0, 0),
    "selu": unary("selu", *WIDE, 14, composed=True),
    "logsigmoid": unary("logsigmoid", *WIDE, 30),
    "mish": unary("mish", *WIDE, 40, composed=True, cancelling=size_of),
    "erf": unary("erf", *WIDE, 24),
    "sigmoid": unary("sigmoid", *WIDE, 12),
    "silu": unary("silu", *WIDE, 14, cancelling=size_of),
    "gelu": unary("gelu", *WIDE, 40, {}, {"approximate": "tanh"}, cancelling=size_of),
    "softplus": unary("softplus", *WIDE, 30, {}, {"beta": -0.5, "threshold": 1.0}),
    "elu": unary("elu", *WIDE, 12, {}, {"alpha": 2.0}),
    "leaky_relu": unary("leaky_relu", *WIDE, 2, {}, {"negative_slope": 0.2}),
    "hardtanh": unary("hardtanh", *WIDE, 0, {}, {"min_val": -2, "max_val": 0.5}),
    "isnan": of_choice("isnan", 1, [0.0, INF, NAN]),
    "isinf": of_choice("isinf", 1, [0.0, INF, -INF, NAN]),
    "isfinite": of_choice("isfinite", 1, [0.0, INF, -INF, NAN]),
    "logical_not": of_choice("logical_not", 1, [0.0, -0.0, 2.0, NAN]),
    "logical_and": of_choice("logical_and", 2, [0.0, -0.0, 2.0, NAN]),
    "logical_or": of_choice("logical_or", 2, [0.0, -0.0, 2.0, NAN]),
    "logical_xor": of_choice("logical_xor", 2, [0.0, -0.0, 2.0, NAN]),
    "bitwise_and": bits("bitwise_and", 2),
    "bitwise_or": bits("bitwise_or", 2),
    "bitwise_xor": bits("bitwise_xor", 2),
    "bitwise_not": bits("bitwise_not", 1),
    "add": binary("add", WIDE, WIDE, 1),
    "sub": binary("sub", WIDE, WIDE, 1),
    "mul": binary("mul", WIDE, WIDE, 2),
    "div": binary("div", WIDE, POSITIVE, 4),
    "floor_divide": floor_divide,
    "remainder": binary("remainder", WIDE, POSITIVE, 4),
    "pow": binary("pow", POSITIVE, (-2.0, 2.0), 24, from_result=_pow_from_result),
    "maximum": binary("maximum", WIDE, WIDE, 0),
    "minimum": binary("minimum", WIDE, WIDE, 0),
    **{name: compared(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "where": where,
    "masked_fill": masked_fill,
    "clamp": clamp("clamp"),
    "clip": clamp("clip"),
    "cast": cast("cast"),
    "to": cast("to"),
    "clone": moved(lambda d, shape: lambda x: x.clone()),
    "sum": reduction("sum", 1),
    "mean": reduction("mean", 2, least=1),
    "var": reduction("var", 8, least=2),
    "std": std,
    "prod": one_dim("prod", 4),
    "norm": norm,
    "logsumexp": reduction("logsumexp", 30, least=1),
    "amax": reduction("amax", 0, least=1),
    "amin": reduction("amin", 0, least=1),
    "max": chosen("max"),
    "min": chosen("min"),
    "median": chosen("median"),
    "sort": chosen("sort"),
    "topk": chosen("topk"),
    "argmax": place("argmax"),
    "argmin": place("argmin"),
    "argsort": place("argsort"),
    "all": truth("all"),
    "any": truth("any"),
    "count_nonzero": truth("count_nonzero"),
    "cumsum": one_dim("cumsum", 1),
    "cumprod": one_dim("cumprod", 4),
    "softmax": softmax("softmax"),
    "log_softmax": softmax("log_softmax"),
    "matmul": product("matmul"),
    "mm": product("mm"),
    "bmm": product("bmm"),
    "mv": product("mv"),
    "dot": product("dot"),
    "outer": product("outer"),
    "linear": linear,
    "einsum": einsum,
    "reshape": reshaped("reshape"),
    "view": reshaped("view"),
    "flatten": moved(flattened, 1),
    "permute": moved(permuted),
    "transpose": two_dims("transpose"),
    "swapaxes": two_dims("swapaxes"),
    "swapdims": two_dims("swapdims"),
    "movedim": moved_dims("movedim"),
    "moveaxis": moved_dims("moveaxis"),
    "t": lambda d: same("t", [d.distinct(d.shape(most_dims=2))]),
    "squeeze": moved(squeezed),
    "unsqueeze": moved(unsqueezed),
    "expand": moved(expanded),
    "broadcast_to": broadcast_to,
    "split": _parts("split"),
    "chunk": _parts("chunk"),
    "unbind": _parts("unbind"),
    "cat": joined("cat"),
    "concatenate": joined("concatenate"),
    "stack": joined("stack"),
    "pad": pad,
    "flip": moved(flipped),
    "roll": moved(rolled),
    "tile": moved(tiled),
    "tril": triangle("tril"),
    "triu": triangle("triu"),
    "diag": lambda d: same("diag", [d.distinct(d.shape(1, 2))], d.integer(-2, 2)),
    "repeat_interleave": repeated,
    "one_hot": lambda d: same("one_hot", [d.indices(d.shape(), 4)], 4),
    "diagonal": moved(diagonal, 2),
    "normalize": normalized("normalize"),
    "cosine_similarity": normalized("cosine_similarity"),
    "trace": lambda d: same("trace", [d.leaf((d.integer(0, 5), d.integer(0, 5)))], steps=1),
    "gather": gather,
    "take_along_dim": take_along_dim,
    "index_select": index_select,
    "scatter_add": scatter_add,
    "embedding": embedding,
    "cross_entropy": class_loss("cross_entropy"),
    "nll_loss": class_loss("nll_loss"),
    "mse_loss": pair_loss("mse_loss"),
    "l1_loss": pair_loss("l1_loss"),
    "huber_loss": pair_loss("huber_loss", {}, {"delta": 0.3}),
    "smooth_l1_loss": pair_loss("smooth_l1_loss", {}, {"beta": 0.3}, {"beta": 0.0}),
    "kl_div": pair_loss("kl_div", {}, {"log_target": True}),
    "binary_cross_entropy_with_logits": pair_loss(
        "binary_cross_entropy_with_logits", {}, {"weight": None}, {"pos_weight": None}
    ),
    "binary_cross_entropy": pair_loss("binary_cross_entropy", {}, {"weight": None}),
    **{n: normalised(n) for n in ("layer_norm", "rms_norm", "batch_norm", "group_norm")},
    **{f"conv{t}{n}d": convolution(f"conv{t}{n}d") for t in ("", "_transpose") for n in (1, 2)},
    **{
        f"{kind}_pool{n}d": pooling(f"{kind}_pool{n}d")
        for kind in ("max", "avg", "adaptive_avg", "adaptive_max")
        for n in (1, 2)
    },
}
#: Tested in files of their own: attention, what makes tensors, and answers of true or false.
ELSEWHERE = set(
    "scaled_dot_product_attention self_attention allclose arange bernoulli equal eye from_numpy "
    "full full_like linspace multinomial ones ones_like rand rand_like randint randn randn_like "
    "randperm tensor zeros zeros_like".split()
)


def test_no_function_is_left_out() -> None:
    assert set(CASES) | ELSEWHERE == set(mp.ops.__all__)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")  # PyTorch regrets its kl_div's
@settings(max_examples=EXAMPLES)
@given(data=st.data())
def test_values_and_gradients(name: str, dtype: Any, data: Any) -> None:
    draws = Draws(data, dtype)
    with mp.rounding(draws.one_of("nearest_even", "toward_zero")):
        check_call(CASES[name](draws), dtype)


def test_the_rules_that_compute_from_the_stored_result_are_those_listed() -> None:
    from_result = {
        name for name, op in OPS.items() if any("out" in r.needs for r in op.gradients.values())
    }
    listed = {*FROM_RESULT, *EXACT_FROM_RESULT, "softmax", "log_softmax", "pow"}
    assert from_result == listed


#: Which edges a function is not asked about, and why its answer is another one.
LEFT_OUT: dict[str, tuple[str, Callable[[float], bool]]] = {
    "abs": ("PyTorch's derivative at NaN is 0, here it is NaN", np.isnan),
    "sign": ("of NaN PyTorch makes 0, here it is NaN", np.isnan),
    "l1_loss": ("its derivative is a sign", lambda x: not np.isfinite(x)),
    "smooth_l1_loss": ("the same", lambda x: not np.isfinite(x)),
    "norm": (
        "the derivative by NaN is NaN for every p, PyTorch's for some is 0; squares underflow",
        lambda x: np.isnan(x) or 0 < abs(x) < 1e-20,
    ),
    "acosh": ("PyTorch has √(x² - 1) below 1, too, where acosh is NaN", lambda x: not x > 1),
    "prod": ("PyTorch divides the product by each element, which makes NaN of inf", np.isinf),
    "cumprod": ("the same", lambda x: not np.isfinite(x)),
    "relu6": ("its slope at NaN is 1 in PyTorch's scalar code, 0 in its vector code", np.isnan),
    "selu": ("it is elu", np.isnan),
    "remainder": ("PyTorch's of infinities is not Python's", lambda x: not 0 < abs(x) < 1e5),
    "floor_divide": ("PyTorch's of infinities is not Python's", lambda x: not 0 < abs(x) < 1e5),
    "normalize": ("norms over- and underflow", lambda x: not 1e-5 < abs(x) < 1e4),
    "cosine_similarity": ("the same", lambda x: not 1e-5 < abs(x) < 1e4),
    "mish": ("PyTorch's slope at -inf is NaN", np.isinf),
    "hardtanh": ("its slope at NaN is 1 in PyTorch's scalar code, 0 in its vector code", np.isnan),
    "elu": ("its slope at NaN is 1 in PyTorch, NaN here", np.isnan),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_at_the_edges(name: str, dtype: Any, data: Any) -> None:
    """Infinities, NaN, zeros of either sign, subnormals and large numbers among the others."""
    tiny, large = 3 * dtype.smallest_subnormal, min(dtype.max, 2.0**40)
    edges = [INF, -INF, NAN, 0.0, -0.0, tiny, -tiny, large, -large]
    _, left_out = LEFT_OUT.get(name, ("", lambda x: False))
    draws = Draws(data, dtype, [x for x in edges if not left_out(x)])
    with mp.rounding("nearest_even"):
        check_call(CASES[name](draws), dtype)


#: Functions that cannot be captured, or not with all options: they read an index, or labels.
NOT_CAPTURED = set(
    "gather take_along_dim index_select scatter_add one_hot max min median sort topk "
    "adaptive_max_pool1d adaptive_max_pool2d".split()
)


def bits_of(
    function: Callable[..., Any], inputs: list[Any], g: Any = None
) -> tuple[list[Any], Any]:
    """Value and gradients, as bits, for a gradient of the result, which is drawn if not given."""
    leaves = [x.detach().requires_grad_() if x.dtype.is_float else x for x in inputs]
    out = function(*leaves)
    found = [out.storage.tobytes(), out.dtype, out.shape]
    if out.requires_grad:
        g = mp.randn(*out.shape).to(mp.formats.gradient_dtype(out.dtype)) if g is None else g
        out.backward(g)
        found += [None if x.grad is None else x.grad.storage.tobytes() for x in leaves]
    return found, g


def bits_or_refusal(function: Callable[..., Any], inputs: list[Any], g: Any) -> list[Any] | str:
    try:
        return bits_of(function, inputs, g)[0]
    except (RuntimeError, TypeError) as refusal:
        return str(refusal)


@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=EXAMPLES // 2)
@given(data=st.data())
def test_captured_functions_have_the_same_bits(name: str, dtype: Any, data: Any) -> None:
    draws = Draws(data, dtype)
    with mp.rounding(draws.one_of("nearest_even", "toward_zero")):
        call = CASES[name](draws)
        captured = mp.capture(call.ours)
        for factor in (1, 0.5, 0.75):  # the first time it is captured
            inputs = [x.detach() * factor if x.dtype.is_float else x for x in call.inputs]
            expected, g = bits_of(call.ours, inputs)
            found = bits_or_refusal(captured, inputs, g)
            if isinstance(found, str):
                assert "nothing to repeat" in found or (
                    name in NOT_CAPTURED and "cannot be captured" in found
                )
                return
            assert found == expected
