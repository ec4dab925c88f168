"""The parameter: a tensor that a module learns."""

from __future__ import annotations

from tinymp.autograd import Tensor


class Parameter(Tensor):
    """A leaf tensor that a `Module` finds among its attributes.

    It shares storage and version counter with `data`, as in PyTorch.

    Raises:
        TypeError: `data` is not a tensor, or not of a floating-point dtype while a gradient is
            wanted.
    """

    __slots__ = ()

    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        if not isinstance(data, Tensor):
            raise TypeError(
                f"Parameter was given a {type(data).__name__}; it takes a tensor; make one with "
                "tinymp.tensor(...)"
            )
        super().__init__(data._array, data.dtype, requires_grad=requires_grad, version=data.version)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"
