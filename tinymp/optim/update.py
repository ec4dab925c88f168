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
# dtype. A rule may use the arrays of its state again for the new one; it changes neither w nor g.
Rule = Callable[..., tuple[Array, ...]]
# A function of computed values and their place that rounds them to what a tensor stores.
Rounder = Callable[[Array, Block], Array]


def apply_rule(
    rule: Rule,
    t: int,
    parameter: Tensor,
    gradient: Tensor,
    state: Sequence[Tensor],
    options: Mapping[str, Any],
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
    xp, dtype = parameter._device.xp, parameter.dtype
    compute = compute_type(dtype)
    round_parameter, round_state = rounder(parameter, rounding), [rounder(x) for x in state]
    for block in blocks(parameter):
        w = unpack(parameter._array[block], dtype, compute)
        g = unpack(gradient._array[block], gradient.dtype, compute)
        s = [unpack(x._array[block], x.dtype, compute) for x in state]
        lost = s[-1] if compensated else None
        step, *new = rule(xp, t, w, g, *(s[:-1] if compensated else s), **options)
        if lost is None:
            _store(parameter, block, w, xp.subtract(w, step, out=w), round_parameter)
        else:
            change = lost - step
            stored = w + change
            if round_parameter is not None:
                stored = round_parameter(stored, block)
            new.append(change - (unpack(stored, dtype, compute) - w))
            parameter._array[block] = stored
        for tensor, old, now, round_ in zip(state, s, new, round_state, strict=True):
            _store(tensor, block, old, now, round_)
    for tensor in (parameter, *state):
        tensor.version.count += 1


def multiply(tensor: Tensor, factor: Any) -> None:
    """Multiply a tensor by a number in the compute dtype, in place; each product rounded once."""
    xp, round_ = tensor._device.xp, rounder(tensor)
    if round_ is None:
        xp.multiply(tensor._array, factor, out=tensor._array)
    else:
        for block in blocks(tensor):
            values = unpack(tensor._array[block], tensor.dtype)
            tensor._array[block] = round_(xp.multiply(values, factor, out=values), block)
    tensor.version.count += 1


def rounder(tensor: Tensor, mode: str | None = None) -> Rounder | None:
    """How computed values are rounded to what `tensor` stores; None where nothing is rounded.

    Random words for stochastic rounding are drawn for the whole tensor at once, so they do not
    depend on the blocks, and with them not on the device.
    """
    dtype = tensor.dtype
    if dtype.storage == compute_type(dtype):
        return None
    mode = mode or active_rounding().mode(dtype)
    if mode != "stochastic":
        return lambda values, block: pack(values, dtype, mode)
    words = random_words(tensor._device, tensor.size).reshape(tensor.shape)
    return lambda values, block: encode(values, dtype, mode, random_words=words[block]).view(
        dtype.storage
    )


def _store(tensor: Tensor, block: Block, old: Array, new: Array, round_: Rounder | None) -> None:
    """Put new values in the place of the old ones, unless they were computed there."""
    if round_ is not None:
        tensor._array[block] = round_(new, block)
    elif new is not old:
        tensor._array[block] = new
