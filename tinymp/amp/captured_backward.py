"""The first half of a mixed-precision step, written down: a loss, and gradients in float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import numpy as np

from tinymp.amp.grad_scaler import GradScaler
from tinymp.amp.master_weights import MasterWeights
from tinymp.autograd import Tensor
from tinymp.autograd.backward import accumulate
from tinymp.autograd.modes import CAPTURE, OBSERVERS
from tinymp.autograd.tensor import kind_of, new_tensor
from tinymp.formats import DType, active_rounding, rounded, unpack
from tinymp.numerics.kit import compute_type
from tinymp.numerics.quiet import QUIET, quietly
from tinymp.transforms.ways import Ways
from tinymp.transforms.writer import OtherWay

Array = Any


def capture_backward(
    loss_of: Callable[..., Tensor],
    masters: MasterWeights | None = None,
    scaler: GradScaler | None = None,
) -> CapturedBackward:
    """A function that does what these lines do, with the same bits, as `capture` does a function:

        loss = loss_of(*arguments)
        scaler.scale(loss * weight).backward()
        masters.copy_gradients(accumulate=True)

    It takes the arguments, and `weight`, 1 if left out; it returns the loss, without a graph. The
    rest of the step follows as ever:

        backward = mp.amp.capture_backward(loss_of, masters, scaler)
        for x, y in batches:
            optimizer.zero_grad()
            loss = backward(x, y)
            scaler.step(optimizer)
            scaler.update()
            masters.copy_weights()

    Without `masters` the gradients are those of the parameters, without `scaler` there is no loss
    scale. What can be captured, and what is captured anew, `tinymp.capture` says. Here a 2-byte
    gradient that goes to a master is rounded, but never stored in 2 bytes: nobody would see it.
    Where somebody does (a hook, a trace, a gradient that is there already), the lines are run.

    Raises:
        TypeError, RuntimeError: as `tinymp.capture`, and as the lines do.
    """
    return CapturedBackward(loss_of, masters, scaler)


class CapturedBackward:
    """A loss and its gradients, found as they were found before; see `capture_backward`."""

    def __init__(
        self,
        loss_of: Callable[..., Tensor],
        masters: MasterWeights | None,
        scaler: GradScaler | None,
    ) -> None:
        for given, wanted in ((masters, MasterWeights), (scaler, GradScaler)):
            if not isinstance(given, wanted | None):
                raise TypeError(
                    f"capture_backward was given a {type(given).__name__} where it takes "
                    f"{wanted.__name__}: capture_backward(loss_of, masters, scaler)"
                )
        self._masters = masters
        self._scaler = scaler or GradScaler(enabled=False)
        self._master_of = {} if masters is None else dict(masters.own_pairs("capture_backward"))
        self._ways = Ways(loss_of, self._has_master)
        update_wrapper(self, loss_of, updated=())

    @property
    def source(self) -> str:
        """The program that was written last, as Python: empty before the first call."""
        return self._ways.source

    def __call__(self, *arguments: Tensor, weight: float = 1.0) -> Tensor:
        weight = float(weight)
        if OBSERVERS.get() or CAPTURE.get() is not None:
            return self._line_by_line(arguments, weight)  # they are to see what it does
        way = self._ways.of_call(arguments)
        program, kind = way.program, way.kind
        operands = [*arguments, *program.from_outside]
        holders = []
        for place in program.wanted:
            x = operands[place]
            holders.append(holder := self._master_of.get(x, x))
            if x.hooks or x.node is not None or (holder is not x and x.grad is not None):
                return self._line_by_line(arguments, weight)
        if not holders or way.size != 1:  # which is an error
            return self._line_by_line(arguments, weight)
        try:
            out, kept = QUIET.run(program.forward, *[x._array for x in operands])
        except OtherWay:
            return self._line_by_line(arguments, weight)
        loss = new_tensor(out, kind_of(kind.dtype, kind.device, kind.is_scalar, False))
        scale = self._scaler.scale_of(loss)
        g = self._gradient_of_loss(out.shape, kind.gradient, scale, weight)
        for holder, gradient in zip(holders, QUIET.run(program.backward, g, kept), strict=True):
            accumulate(holder, gradient)
        return loss

    def _line_by_line(self, arguments: tuple[Tensor, ...], weight: float) -> Tensor:
        loss = self._ways.function(*arguments)
        self._scaler.scale(loss * weight).backward()
        if self._masters is not None:
            self._masters.copy_gradients(accumulate=True)
        return loss.detach()

    def _has_master(self, x: Tensor) -> bool:
        """Whether a tensor's gradient goes to a master of its own."""
        if self._masters is not None:
            self._masters.own_pairs("capture_backward")  # which have not been converted since
        return x in self._master_of

    def _gradient_of_loss(self, shape: Any, dtype: DType, scale: float, weight: float) -> Array:
        """What backward through `scale(loss * weight)` finds, one factor after the other."""
        compute, rounding = compute_type(dtype), active_rounding()
        g = rounded(np.ones(shape, compute), dtype, rounding)
        for factor in (scale, weight):
            if factor != 1:
                product = quietly(np.multiply, unpack(g, dtype, compute), factor)
                g = rounded(product, dtype, rounding)
        return g
