"""An operation as one row of a table: its forward rule and one gradient rule per input."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

Rule = Callable[..., Any]
View = Literal["values", "words", "packed", "matrices"]
Takes = Literal["anything", "floats"]
Category = Literal["lower", "float32", "widest", "follow"]
Result = Literal["promote", "float", "bool", "int64", "attribute"]
Accumulates = Literal["nowhere", "forward", "backward", "both"]

#: Every operation that is listed, by name, in the order of definition.
OPS: dict[str, Op] = {}


class Op:
    """A differentiable operation, written on plain arrays.

    `forward(xp, *inputs, *, attributes)` computes the result. Its positional parameters are the
    inputs (`=None` marks one that may be left out), its keyword-only ones the attributes (an axis,
    a shape, ...). `xp` is the device's array module, whose `sum` and `matmul` are the accumulator's
    (`numerics.kit`).

    Each further keyword is the gradient rule of the input of that name:

        MUL = Op("mul", lambda xp, x, y: x * y,
                 x=lambda xp, g, y: g * y,
                 y=lambda xp, g, x: g * x)

    A gradient rule receives `g`, the gradient of the loss with respect to the result, and whatever
    else it *names*: an input, `out` (the result), `x_shape` (the shape of input `x`), an
    attribute, or a residual. What the rules that are needed name is saved for backward, nothing
    else. Broadcasting is undone for it. It returns `g`, a view of `g`, or a new array.

    What the dispatcher does around a rule is the op's contract:

    `forward_on`, `backward_on`
        what the rules see of a tensor: `"values"` decoded to the compute dtype (float32, or float64
        where an input is float64), `"words"` the storage untouched (for rules that only move
        elements), `"packed"` storage together with its dtype, `"matrices"` (for matrix products)
        packed where the accumulator multiplies words, and values elsewhere.
    `takes`
        dtypes that its inputs may have: `"anything"`, or `"floats"` alone.
    `result`
        the dtype of the result: `"promote"` the common dtype of the inputs, `"float"` the same
        with integers as float32, `"bool"`, `"int64"`, or `"attribute"`: the attribute `dtype`.
    `autocast`
        under autocast: `"lower"` inputs are cast to the lower precision, `"float32"` the result is
        float32, `"widest"` inputs are cast to the widest among them, `"follow"` nothing changes.
    `undecoded`
        names of inputs (indices, masks, labels) that pass as they are and take no part in
        promotion.
    `residuals`
        names of arrays that `forward` returns after its result, kept for backward unrounded.

    `together`
        a rule that gives the gradients of several inputs at once, as a tuple in the order of their
        names, because they share work.

    `accumulates`
        where its rules add up many terms: in `"forward"`, `"backward"`, `"both"` or `"nowhere"`.
    `exact`
        whether its rules give nothing but values that they were given, their negatives, and zeros:
        then there is nothing to round.
    `listed`
        whether it is one of `OPS`.

    A forward rule with `*xs` takes any number of inputs; the gradient rule `xs` serves each of
    them and may name `position` and `shapes` (of all inputs).
    """

    def __init__(
        self,
        name: str,
        forward: Rule,
        *,
        forward_on: View = "values",
        backward_on: View | None = None,
        takes: Takes = "anything",
        result: Result = "promote",
        autocast: Category = "follow",
        undecoded: tuple[str, ...] = (),
        residuals: tuple[str, ...] = (),
        accumulates: Accumulates = "nowhere",
        together: Mapping[tuple[str, ...], Rule] | None = None,
        listed: bool = True,
        exact: bool = False,
        **gradients: Rule,
    ) -> None:
        signature = inspect.signature(forward).parameters
        parameters = list(signature.values())[1:]
        self.name = name
        self.forward = forward
        self.forward_on = forward_on
        self.backward_on = backward_on or forward_on
        self.takes = takes
        self.result = result
        self.autocast = autocast
        self.undecoded = undecoded
        self.residuals = residuals
        self.accumulates = accumulates
        self.exact = exact
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.inputs = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.optional = tuple(name for name in self.inputs if signature[name].default is None)
        self.attributes = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        written: dict[tuple[str, ...], Rule] = {(name,): rule for name, rule in gradients.items()}
        written.update(together or {})
        rules = [GradientRule(self, inputs, rule) for inputs, rule in written.items()]
        self.gradients = {name: rule for rule in rules for name in rule.inputs}
        self.rules = tuple(self.gradients.get(name) for name in self.inputs)
        if listed:
            OPS[name] = self
        #: The contracts worked out so far, by the kinds of the operands.
        self.contracts: dict[Any, Any] = {}

    def input(self, position: int) -> str:
        """Name of the input at `position`."""
        return self.inputs[0 if self.variadic else position]

    def rule(self, position: int) -> GradientRule | None:
        """Gradient rule of the input at `position`, or None where there is no derivative."""
        return self.rules[0 if self.variadic else position]

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.inputs)})>"


class GradientRule:
    """A gradient rule, the inputs it serves, and the names of what it needs from forward."""

    __slots__ = ("function", "inputs", "needs")

    def __init__(self, op: Op, inputs: tuple[str, ...], function: Rule) -> None:
        self.function = function
        self.inputs = inputs
        self.needs = tuple(inspect.signature(function).parameters)[2:]
        known = {"out", *op.inputs, *op.attributes, *op.residuals}
        known |= {f"{x}_shape" for x in op.inputs}
        known |= {"position", "shapes"} if op.variadic else set()
        unknown = [need for need in self.needs if need not in known]
        if unknown or not set(inputs) <= set(op.inputs):
            raise TypeError(
                f"op {op.name!r}: the gradient rule of {', '.join(map(repr, inputs))} asks for "
                f"{unknown or 'no known input'}; the inputs are {list(op.inputs)} and a rule may "
                f"ask for {sorted(known)}"
            )
