"""Dropout: a random part of the activations set to zero while training."""

from __future__ import annotations

from tinymp.autograd import Tensor, apply
from tinymp.devices import default_generator
from tinymp.nn.module import Module
from tinymp.ops.elementwise import DROPOUT


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element of `x` set to 0 with probability `p`, the others divided by 1 - p.

    So the expected value stays. Not `training`, or for p = 0, it is `x` itself. What is kept comes
    from the default generator: the same seed drops the same elements on every device.

    Raises:
        ValueError: p outside [0, 1].

    Source: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov, Dropout (JMLR 15, 2014),
    section 10.
    """
    _check_probability(p)
    if not training or p == 0:
        return x
    generator = default_generator()
    return apply(DROPOUT, x, p=p, seed=generator.seed, draw=generator.next_draw())


class Dropout(Module):
    """Sets each element to 0 with probability `p` in training mode; see `functional.dropout`.

    Raises:
        ValueError: p outside [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        _check_probability(p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape."""
        return dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"dropout was given p={p}; it is a probability, from 0 to 1")
