"""The dtype contract of an operation, filled in for operands of given dtypes, and carried out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymp.autograd.op import GradientRule, Op, View
from tinymp.autograd.plan import Plan
from tinymp.autograd.tensor import Tensor, kind_of
from tinymp.formats import (
    DType,
    RoundingState,
    as_array,
    bool_,
    float32,
    gradient_dtype,
    int64,
    promote,
    promote_ranked,
    rounded,
    unpack,
)
from tinymp.numerics.accumulation import active_accumulator
from tinymp.numerics.kit import Packed, compute_type, kit

if TYPE_CHECKING:
    from tinymp.autograd.graph import Node

Array = Any
Operand = Tensor | float | int | bool | None
#: Nodes or leaves, each with the gradient that it receives, as storage.
Gradients = list[tuple["Node | Tensor", Array]]

#: What a number counts as in promotion, by the kind of its NumPy type.
_NUMBERS = {"b": bool_, "i": int64, "u": int64, "f": float32}


class Contract:
    """What one operation computes in and returns, for operands of given dtypes on one device.

    Who calls `forward` and `backward` does so quietly: see `numerics.quiet`.

    Attributes:
        op: the operation.
        accumulator: how its rules sum and multiply matrices, forward and backward.
        device, xp: where it runs, and the kit that the rules work with there.
        compute: NumPy type of the values that the rules see.
        result: dtype to which the result is rounded, once; `dtype` where the operation or autocast
            asks for one.
        kinds: kind of the result: unrecorded or recorded, with axes or without.
        views: for each operand, a function that shows what is held to the forward rule, None where
            it sees just that; None where it does so of all.
        later_views: the same for the gradient rules, by the names of what they ask for; of what is
            not in it they see the array that is held.
        dtypes: by name, those of the operands that are tensors, of the result (`out`) and of its
            gradient (`g`).
        is_direct: whether the forward rule sees what is held and, as a rule, gives what is stored.
        rounds: whether a tensor in it is held in a format narrower than the rules compute in.
        plan: what backward will do; None where no input wants a gradient, or none can be had.
    """

    __slots__ = (
        "accumulator", "compute", "device", "dtypes", "is_direct", "kinds", "later_views", "op",
        "plan", "result", "rounds", "views", "xp",
    )  # fmt: skip

    def __init__(self, op: Op, operands: Sequence[Operand], dtype: DType | None) -> None:
        self.op = op
        common = _common_dtype(op, operands)
        if op.result == "float" and common.kind != "float":
            common = float32
        self.compute = compute_type(common)
        self.result = {"bool": bool_, "int64": int64}.get(op.result, common)
        if dtype is not None and op.result == "attribute":
            self.result = dtype
        elif dtype is not None and common.is_float:
            self.result = promote(common, dtype)  # autocast to float32 leaves float64 alone
        self.device = next(x._device for x in operands if isinstance(x, Tensor))
        self.kinds = [
            [kind_of(self.result, self.device, is_scalar, recorded) for is_scalar in (False, True)]
            for recorded in (False, True)
        ]
        self.accumulator = active_accumulator()
        self.xp = kit(self.device.name, self.accumulator)
        views = [self._shown(x, op.input(i)) for i, x in enumerate(operands)]
        self.views = None if all(view is None for view in views) else views
        self.dtypes = {
            op.input(i): x.dtype for i, x in enumerate(operands) if isinstance(x, Tensor)
        }
        self.dtypes.update(out=self.result, g=gradient_dtype(self.result))
        views_of = {name: self._view(x, name, op.backward_on) for name, x in self.dtypes.items()}
        self.later_views = {name: view for name, view in views_of.items() if view is not None}
        held = [self.result, *[x.dtype for x in operands if isinstance(x, Tensor)]]
        moves, has_kernels = op.forward_on == "words", self.device.kernels is not None
        self.is_direct = self.views is None and not (op.residuals or moves or has_kernels)
        self.rounds = any(dtype.storage != compute_type(dtype) for dtype in held)
        plan = Plan(op, operands, self.result.is_float)
        self.plan = plan if plan.rules else None

    def forward(
        self, held: Sequence[Any], attributes: dict[str, Any], rounding: RoundingState
    ) -> Array:
        """The result as storage, rounded once; residuals are added to `attributes`.

        `held`: the operands, of tensors the storage.
        """
        op = self.op
        out = op.forward(self.xp, *self.shown(held), **attributes)
        if op.residuals:
            out, *residuals = out
            attributes.update(zip(op.residuals, residuals, strict=True))
        return self.stored(out, rounding)

    def stored(self, out: Any, rounding: RoundingState) -> Array:
        """What the forward rule computed, as storage."""
        moves = self.op.forward_on == "words"
        return as_array(out) if moves else rounded(out, self.result, rounding)

    def shown(self, held: Sequence[Any]) -> Sequence[Any]:
        """The operands as the forward rule sees them."""
        if self.views is None:
            return held
        return [x if view is None else view(x) for view, x in zip(self.views, held, strict=True)]

    def backward(self, node: Node, g: Array, saved: dict[str, Any]) -> Gradients:
        """Each source that wants a gradient, and its gradient as storage, rounded once.

        `g`: the gradient of the result of `node`, as storage. `saved`: what the rules asked for.
        """
        self.check(node)
        views = self.later_views
        if views:
            saved = {
                name: views[name](kept) if name in views else kept for name, kept in saved.items()
            }
            if "g" in views:
                g = views["g"](g)
        return self._by_rules(node, g, saved)

    def check(self, node: Node) -> None:
        """Raise a RuntimeError if a tensor that `node` saved was changed since."""
        for name, version, count in node.versions:
            if version.count != count:
                assert node.saved is not None  # it is asked what it has saved
                raise RuntimeError(
                    f"the {'result' if name == 'out' else f'input {name!r}'} of {self.op.name!r} "
                    f"(shape {tuple(node.saved[name].shape)}, {self.dtypes[name].name}) was saved "
                    f"for backward at version {count} but has been changed in place since (version "
                    f"{version.count}); change it after backward, or change a copy"
                )

    def _by_rules(self, node: Node, g: Any, needed: dict[str, Any]) -> Gradients:
        assert self.plan is not None  # else there is no node
        op, xp, sources = self.op, self.xp, node.sources
        several: dict[GradientRule, tuple[Array, ...]] = {}
        gradients = []
        for position, rule, index in self.plan.rules:
            if op.variadic:
                needed = {**needed, "position": position}
            if index is None:
                gradient = rule.function(xp, g, *[needed[name] for name in rule.needs])
            else:
                if rule not in several:
                    several[rule] = rule.function(xp, g, *[needed[name] for name in rule.needs])
                gradient = several[rule][index]
            source: Any = sources[position]
            if op.backward_on == "words":
                gradient = as_array(gradient)
            else:
                if gradient.shape != source.shape:
                    gradient = unbroadcast(xp, gradient, source.shape)
                dtype = source.kind.gradient
                if type(gradient) is not np.ndarray or gradient.dtype is not dtype.storage:
                    gradient = rounded(gradient, dtype, node.rounding)
            gradients.append((source, gradient))
        return gradients

    def seen(self, storage: Array, dtype: DType, view: View) -> Array:
        """A storage as a rule sees it: words, words with their dtype, or values."""
        show = self._view(dtype, "", view)
        return storage if show is None else show(storage)

    def _shown(self, x: Operand, name: str) -> Any:
        """A function that shows an operand like `x` to the forward rule; None if it needs none."""
        if isinstance(x, np.generic):
            return lambda number: number.item()  # NumPy's scalars would widen the computation
        return self._view(x.dtype, name, self.op.forward_on) if isinstance(x, Tensor) else None

    def _view(self, dtype: DType, name: str, view: View) -> Any:
        """A function that shows a storage of `dtype` to a rule; None where that sees it as held."""
        multiplies_words = self.accumulator.multiplies_words(self.device)
        held_as_computed = view in ("values", "matrices") and dtype.storage == self.compute
        if view == "words" or held_as_computed or name in self.op.undecoded:
            return None
        if view == "packed" or (view == "matrices" and multiplies_words):
            return partial(Packed, dtype=dtype)
        if dtype.kind != "float":
            return lambda storage: storage.astype(self.compute, copy=False)
        return partial(unpack, dtype=dtype, compute=self.compute)


def unbroadcast(xp: Any, gradient: Array, shape: tuple[int, ...]) -> Array:
    """`gradient` summed over the axes along which an input of `shape` was repeated."""
    if gradient.shape == shape:
        return gradient
    added = gradient.ndim - len(shape)
    stretched = [added + i for i, n in enumerate(shape) if n == 1 != gradient.shape[added + i]]
    return xp.sum(gradient, (*range(added), *stretched), True).reshape(shape)


def _common_dtype(op: Op, operands: Sequence[Operand]) -> DType:
    """The dtype in which the operands meet, or a complaint about one that does not fit."""
    tensors: list[DType] = []
    scalars: list[DType] = []
    numbers: list[DType] = []
    device = None
    for i, x in enumerate(operands):
        if isinstance(x, Tensor):
            if device is not None and x._device is not device:
                raise ValueError(
                    f"{op.name} was given tensors on {device.name} and on {x.device}; all must be "
                    f"on one device; move one, for example with .to({device.name!r})"
                )
            device = x._device
            if op.input(i) not in op.undecoded:
                (tensors if x.ndim else scalars).append(x.dtype)
        elif isinstance(x, bool | int | float | np.generic) and np.result_type(x).kind in "biuf":
            numbers.append(_NUMBERS[np.result_type(x).kind])
        elif x is not None or op.input(i) not in op.optional:
            raise TypeError(
                f"{op.name} was given a {type(x).__name__}; operations take tensors and Python "
                "numbers; wrap it in tinymp.tensor(...)"
            )
    wrong = [x for x in (*tensors, *scalars) if not x.is_float] if op.takes == "floats" else []
    if wrong:
        raise TypeError(
            f"{op.name} was given {wrong[0].name}; it takes floating-point tensors; convert it "
            "first, for example with .to(tinymp.float32)"
        )
    if device is None:
        raise TypeError(f"{op.name} was given no tensor; wrap an operand in tinymp.tensor(...)")
    common = promote_ranked(tensors, scalars, numbers or [bool_])  # which changes no other
    if (
        common.is_float
        and common.bits <= 8
        and op.forward_on == "values"
        and op.result != "attribute"
    ):
        raise TypeError(
            f"{op.name} was given {common.name}; {common.bits}-bit floats enter casts, movement "
            "and matrix products only; convert it first, for example with .to(tinymp.float16)"
        )
    return common
