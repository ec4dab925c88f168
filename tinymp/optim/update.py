"""The one place where an optimizer's rule meets stored numbers.

As the dispatcher does for operations, it decodes parameter, gradient and state exactly to the
compute dtype, runs the rule, and rounds each result once to the dtype of the tensor it belongs to,
in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinymp.autograd import Tensor
from tinymp.devices import random_words
from tinymp.formats import active_rounding, encode, pack, unpack
from tinymp.numerics.kit import compute_type
from tinymp.optim.blocks import Block, blocks

Array = Any

# rule(xp, t, w, g, *state, **options) -> (step, *new state): what step number t (from 1) subtracts
# from the parameter w, given its gradient g, and the state afterwards. Elementwise, in the compute
# dtype, without changing what it is given. (What it computed itself it may use again, in place.)
Rule = Callable[..., tuple[Array, ...]]


def apply_rule(
    rule: Rule,
    t: int,
    parameter: Tensor,
    gradient: Tensor,
    state: Sequence[Tensor],
    options: Mapping[str, Any],
    *,
    rounding: str | None = None,
    compensated: bool = False,
) -> None:
    """Carry out step `t` of `rule`, which changes `parameter` and its `state` in place.

    `rounding` is the mode that rounds the parameter; None takes the active one, which rounds the
    state in any case. If `compensated`, the last tensor of `state` is not the rule's: it collects
    what rounding the parameter lost, and gives it back at the next step.

    Source of the compensation: Kahan, Further remarks on reducing truncation errors (CACM 8(1),
    1965).
    """
    xp, compute = parameter._device.xp, compute_type(parameter.dtype)
    round_parameter, round_state = rounder(parameter, rounding), [rounder(x) for x in state]
    for block in blocks(parameter):
        w = unpack(parameter._array[block], parameter.dtype, compute)
        g = unpack(gradient._array[block], gradient.dtype, compute)
        s = [unpack(x._array[block], x.dtype, compute) for x in state]
        lost = s.pop() if compensated else None
        step, *after = rule(xp, t, w, g, *s, **options)
        if lost is None:
            # In place: what is stored in the compute dtype is updated by that.
            stored = round_parameter(xp.subtract(w, step, out=w), block)
        else:
            change = lost - step
            stored = round_parameter(w + change, block)
            after.append(change - (unpack(stored, parameter.dtype, compute) - w))
        if stored is not w:
            parameter._array[block] = stored
        for tensor, new, rounded in zip(state, after, round_state, strict=True):
            tensor._array[block] = rounded(new, block)
    for tensor in (parameter, *state):
        tensor.version.count += 1


def multiply(tensor: Tensor, factor: Any) -> None:
    """Multiply a tensor by a number in the compute dtype, in place; each product rounded once."""
    compute = compute_type(tensor.dtype)
    rounded = rounder(tensor)
    for block in blocks(tensor):
        values = unpack(tensor._array[block], tensor.dtype, compute)
        product = rounded(tensor._device.xp.multiply(values, factor, out=values), block)
        if product is not values:
            tensor._array[block] = product
    tensor.version.count += 1


def rounder(tensor: Tensor, mode: str | None = None) -> Callable[[Array, Block], Array]:
    """A function of computed values and their place that rounds them to what `tensor` stores.

    Random words for stochastic rounding are drawn for the whole tensor at once, so they do not
    depend on the blocks, and with them not on the device.
    """
    dtype = tensor.dtype
    if dtype.storage == compute_type(dtype):
        return _as_computed
    mode = mode or active_rounding().mode(dtype)
    if mode != "stochastic":
        return lambda values, block: pack(values, dtype, mode)
    words = random_words(tensor._device, tensor.size).reshape(tensor.shape)
    return lambda values, block: encode(values, dtype, mode, random_words=words[block]).view(
        dtype.storage
    )


def _as_computed(values: Array, block: Block) -> Array:
    return values
