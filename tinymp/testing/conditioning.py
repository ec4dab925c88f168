"""How far off may a computed result be? As far as PyTorch's own derivatives say that it can.

Each step of a rule rounds, and to first order each such error is one in an input or in the result.
A rule of k steps on n inputs computes an exact result of inputs that are off by (n + k) unit
roundoffs, to within as many (mixed forward-backward stability: Higham, Accuracy and Stability of
Numerical Algorithms, section 1.5). What that does to a value f, and to a gradient h that depends on
the inputs x and on the gradient g of the result, the derivatives say:

    |error of f| ≤ (n + k)·u · (|f| + Σ |∂f/∂x|·|x|)
    |error of h| ≤ (n + k)·u · (|h| + Σ |∂h/∂x|·|x| + Σ |∂h/∂g|·|g|)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinymp.formats import DType, active_rounding, float64
from tinymp.testing.operation import Array, Errors
from tinymp.testing.rounded import unit_roundoff

# PyTorch functions. Formula: of the result's gradient, the result and the inputs, the gradients.
Function = Callable[..., Any]
Formula = Callable[..., Sequence[Any]]


def conditioned_errors(
    function: Function,
    dtype: DType,
    steps: float,
    *,
    unit: float | None = None,
    from_result: Formula | None = None,
    cancelling: Function | None = None,
) -> Errors:
    """Bounds for `check_operation`, from the derivatives of a function of PyTorch tensors.

    The work grows with the square of the number of elements: keep to some dozens.

    Args:
        function: PyTorch's version of the operation, differentiable twice.
        dtype: of the tensors in question.
        steps: k, how many roundings a result passes (8 for each elementary function). With 0
            nothing is computed but sums of gradients where an element was used several times.
        unit: u, by default that of computing; the stored dtype's for what takes several operations.
        from_result: how the gradient comes from the stored result, where the rule uses that: adds
            what the rounding of the stored result does.
        cancelling: of the only input, the size of intermediate results that cancel: value and
            gradient may be off by that many (n + k)·u more, the latter times that of the result.
    """
    u = unit_roundoff(dtype) if unit is None else unit
    u *= 2 if dtype is float64 else 1  # PyTorch errs as much
    tiny = float(np.finfo(np.float64 if dtype is float64 else np.float32).smallest_subnormal)

    def errors(values: list[Array], out: Array, g: Array) -> list[float | Array]:
        import torch

        inputs = [torch.tensor(v, requires_grad=v.dtype.kind == "f") for v in values]
        floats = [x for x in inputs if x.requires_grad]
        result = function(*inputs)
        value = np.zeros(out.shape)
        if steps:
            moved, terms = _moved(result, floats)
            slack = 0.0 if cancelling is None else _size(cancelling(*inputs))
            value = (steps + terms) * u * (np.abs(out) + moved + slack) + steps * tiny
        if g.shape != out.shape or not result.requires_grad:
            return [value, *[0.0] * len(values)]

        weight = torch.tensor(g, requires_grad=True)
        found = torch.autograd.grad(
            result, floats, weight, create_graph=True, materialize_grads=True
        )
        bounds = []
        for h in found:
            moved, terms = _moved(h, [weight])
            if not steps:  # one term is exact
                bounds.append(u * np.maximum(terms - 1, 0) * moved)
                continue
            by_input, more = _moved(h, floats)
            slack = 0.0 if cancelling is None else np.abs(g) * _size(cancelling(*inputs))
            size = _size(h) + moved + by_input + slack
            lost = steps * tiny * (1 + np.abs(g).max(initial=0))
            bounds.append((steps + terms + more) * u * size + lost)
        if from_result is not None:
            rounding = dtype.unit_roundoff(active_rounding().mode(dtype))
            stored = torch.tensor(out, requires_grad=True)
            off = rounding * (np.abs(out) + value) + value + dtype.smallest_subnormal
            for i, h in enumerate(from_result(weight, stored, *inputs)):
                bounds[i] = bounds[i] + 2 * _moved(h, [stored], off)[0]
        of_floats = iter(bounds)
        return [value, *(next(of_floats) if x.requires_grad else 0.0 for x in inputs)]

    return errors


def _size(x: Any) -> Array:
    size: Array = np.abs(x.detach().numpy(force=True))
    return size


def _moved(results: Any, inputs: Sequence[Any], off: Array | None = None) -> tuple[Array, Array]:
    """Σ |∂result/∂x|·|x| over the elements x of the inputs, and how many of them are not 0.

    Both for each element of `results`; `off` stands in for |x|.
    """
    import torch

    total, terms = np.zeros(results.shape), np.zeros(results.shape)
    if not results.requires_grad or not results.numel():
        return total, terms
    for place in np.ndindex(results.shape):
        slopes = torch.autograd.grad(
            results[place], inputs, retain_graph=True, materialize_grads=True
        )
        sizes = [_size(slope) for slope in slopes]
        by = [_size(x) if off is None else off for x in inputs]
        total[place] = sum((slope * x).sum() for slope, x in zip(sizes, by, strict=True))
        terms[place] = sum(np.count_nonzero(slope) for slope in sizes)
    return total, terms
