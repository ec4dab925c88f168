"""Our own training step in float32, which is the same for every model: as ever, or captured."""

from __future__ import annotations

from collections.abc import Callable

from tinymp.amp import capture_backward
from tinymp.autograd import Tensor
from tinymp.optim import Optimizer

#: How tinymp takes a step, as its name ends.
HOW = {"": False, ", captured": True}


def float32_step(
    objective: Callable[[Tensor, Tensor], Tensor],
    optimizer: Optimizer,
    x: Tensor,
    labels: Tensor,
    captured: bool,
) -> Callable[[], float]:
    """A step on a batch, which returns the loss."""

    def lines(x: Tensor, labels: Tensor) -> Tensor:
        loss = objective(x, labels)
        loss.backward()
        return loss

    backward = capture_backward(objective) if captured else lines

    def step() -> float:
        optimizer.zero_grad()
        loss = backward(x, labels)
        optimizer.step()
        return float(loss.item())

    return step
