"""The one place where an optimizer's rule meets stored numbers.

As the dispatcher does for operations, it decodes parameter, gradient and state exactly to the
compute dtype, runs the rule, and rounds each result once to the dtype of the tensor it belongs to,
in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinymp.autograd import Tensor
from tinymp.autograd.tensor import Kind
from tinymp.devices import random_words
from tinymp.formats import (
    active_rounding,
    encode,
    float32,
    float64,
    pack,
    unpack,
)
from tinymp.numerics.kit import compute_type
from tinymp.numerics.quiet import QUIET
from tinymp.optim.blocks import BLOCK, Block, for_each_block

Array = Any
State = dict[str, Any]

# step(t, w, g, *state): what step number t (from 1) subtracts from the parameter w, given its
# gradient g. Elementwise, in the compute dtype. It changes the arrays of its state in place, and
# neither w nor g.
Step = Callable[..., Array]
# rule(xp, number, **options) -> step. The formulas take their numbers, options or what follows from
# them, through the function `number`.
Rule = Callable[..., Step]
# A function of computed values and their place that rounds them to what a tensor stores.
Rounder = Callable[[Array, Block], Array]


def apply_rule(
    rule: Rule,
    updates: Iterable[tuple[Tensor, Tensor, State]],
    names: Sequence[str],
    options: Mapping[str, Any],
    rounding: str | None = None,
    compensated: bool = False,
) -> None:
    """Change parameters by their gradients, and their states, in place.

    `updates`: parameter, gradient, and state: the number of steps taken so far, `step`, and tensors
    by name, of which the rule takes those in `names`.

    `rounding` is the mode that rounds the parameter; None takes the active one, which rounds the
    state in any case. If `compensated`, the last of `names` is not the rule's: its tensor collects
    what rounding the parameter lost, and gives it back at the next step.

    Infinities and NaN are results here, as in the operations: no warnings.

    Source of the compensation: Kahan, Further remarks on reducing truncation errors (CACM 8(1),
    1965).
    """
    steps: dict[Kind, Step] = {}
    for parameter, gradient, state in updates:
        step = steps.get(parameter.kind)
        if step is None:
            step = steps[parameter.kind] = QUIET.run(step_for, parameter, rule, options)
        t = state["step"] = state["step"] + 1
        arrays = None if compensated else _stored_as_computed(parameter, gradient, state, names)
        if arrays is not None:
            QUIET.run(_apply_in_place, step, t, parameter, arrays)
        else:
            tensors = [state[name] for name in names]
            # Made here: the quiet context does not know the active modes.
            rounders = rounder(parameter, rounding), *map(rounder, tensors)
            QUIET.run(_apply_rounded, step, t, parameter, gradient, tensors, rounders, compensated)
        parameter.version.count += 1
        for name in names:
            state[name].version.count += 1


def step_for(parameter: Tensor, rule: Rule, options: Mapping[str, Any]) -> Step:
    """The step of `rule` for parameters of this dtype on this device."""
    xp, compute = parameter._device.xp, compute_type(parameter.dtype)

    def number(x: Any) -> Any:
        """`x` as an array without axes: NumPy starts with it in half the time of a Python number.

        NumPy's own numbers stay as they are: they may widen the computation.
        """
        return np.array(x, compute) if xp is np and type(x) in (float, int) else x

    return rule(xp, number, **options)


def _stored_as_computed(
    parameter: Tensor, gradient: Tensor, state: State, names: Sequence[str]
) -> list[Array] | None:
    """The arrays that a step takes, if all are float32, or all float64; else None."""
    dtype = parameter.dtype
    if gradient.dtype is not dtype or (dtype is not float32 and dtype is not float64):
        return None
    arrays = [parameter._array, gradient._array]
    for name in names:
        tensor = state[name]
        if tensor.dtype is not dtype:
            return None
        arrays.append(tensor._array)
    return arrays


def _apply_in_place(step: Step, t: int, parameter: Tensor, arrays: Sequence[Array]) -> None:
    """Step `t` of one parameter, where all that it takes is stored as it is computed."""
    xp, w = parameter._device.xp, parameter._array
    if w.size <= BLOCK:  # is one block, which need not be cut out
        xp.subtract(w, step(t, *arrays), w)
        return

    def update(block: Block) -> None:
        w, *rest = [array[block] for array in arrays]
        xp.subtract(w, step(t, w, *rest), w)

    for_each_block(parameter, update, _weight(len(arrays) - 2))


def _apply_rounded(
    step: Step,
    t: int,
    parameter: Tensor,
    gradient: Tensor,
    state: Sequence[Tensor],
    rounders: Sequence[Rounder | None],
    compensated: bool,
) -> None:
    """Step `t` of one parameter; `rounders` are those of the parameter and of each state tensor."""
    round_parameter, *round_state = rounders
    xp, dtype = parameter._device.xp, parameter.dtype
    compute = compute_type(dtype)

    def update(block: Block) -> None:
        w = unpack(parameter._array[block], dtype, compute)
        g = unpack(gradient._array[block], gradient.dtype, compute)
        s = [unpack(x._array[block], x.dtype, compute) for x in state]
        lost = s.pop() if compensated else None
        decrease = step(t, w, g, *s)
        if lost is None:
            _store(parameter, block, xp.subtract(w, decrease, w), round_parameter)
        else:
            change = lost - decrease
            stored = w + change
            if round_parameter is not None:
                stored = round_parameter(stored, block)
            s.append(change - (unpack(stored, dtype, compute) - w))
            parameter._array[block] = stored
        for tensor, values, round_ in zip(state, s, round_state, strict=True):
            _store(tensor, block, values, round_)

    for_each_block(parameter, update, 4 + _weight(len(state)))


def _weight(states: int) -> int:
    """How much longer than a copy a step takes: without state the memory is the limit."""
    return 1 + 4 * states


def multiply(tensor: Tensor, factor: Any) -> None:
    """Multiply a tensor by a number in the compute dtype, in place; each product rounded once."""
    round_ = rounder(tensor)
    if round_ is None:
        QUIET.run(tensor._device.xp.multiply, tensor._array, factor, tensor._array)
    else:
        QUIET.run(_multiply_rounded, tensor, factor, round_)
    tensor.version.count += 1


def _multiply_rounded(tensor: Tensor, factor: Any, round_: Rounder) -> None:
    def update(block: Block) -> None:
        values = unpack(tensor._array[block], tensor.dtype)
        values *= factor
        tensor._array[block] = round_(values, block)

    for_each_block(tensor, update, 4)


def rounder(tensor: Tensor, mode: str | None = None) -> Rounder | None:
    """How computed values are rounded to what `tensor` stores; None where nothing is rounded.

    Random words for stochastic rounding are drawn for the whole tensor at once, so they do not
    depend on the blocks, and with them not on the device.
    """
    dtype = tensor.dtype
    if dtype is float32 or dtype is float64:
        return None
    mode = mode or active_rounding().mode(dtype)
    if mode != "stochastic":
        return lambda values, block: pack(values, dtype, mode)
    words = random_words(tensor._device, tensor.size).reshape(tensor.shape)
    return lambda values, block: encode(values, dtype, mode, random_words=words[block]).view(
        dtype.storage
    )


def _store(tensor: Tensor, block: Block, values: Array, round_: Rounder | None) -> None:
    """Put computed values where `tensor` keeps them."""
    tensor._array[block] = values if round_ is None else round_(values, block)
