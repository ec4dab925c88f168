"""Dimensions as users name them, made positive and checked."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Tensor

Dims = int | tuple[int, ...] | list[int] | None


def check_tensors(name: str, *operands: Any) -> None:
    """Refuse operands that are not tensors.

    Raises:
        TypeError: there is one.
    """
    for x in operands:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} was given a {type(x).__name__}; it takes a tensor; wrap it in "
                "tinymp.tensor(...)"
            )


def one_dim(dim: int, x: Tensor, name: str, added: int = 0) -> int:
    """`dim` counted from the front, of the dimensions of `x` and `added` new ones.

    Raises:
        TypeError: `x` is no tensor.
        IndexError: there is no such dimension.
    """
    check_tensors(name, x)
    ndim = x.ndim + added
    if not -ndim <= dim < ndim:
        raise IndexError(
            f"{name} was given dim={dim} for a tensor of {ndim} dimensions; it must be "
            + (f"from {-ndim} to {ndim - 1}" if ndim else "left out: the tensor has none")
        )
    return dim % ndim


def many_dims(dim: Dims, x: Tensor, name: str) -> tuple[int, ...]:
    """The chosen dimensions of `x` counted from the front, in order; all of them for None.

    Raises:
        TypeError: `x` is no tensor.
        IndexError: there is no such dimension.
        ValueError: one is named twice.
    """
    check_tensors(name, x)
    if dim is None:
        return tuple(range(x.ndim))
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    dims = sorted(one_dim(d, x, name) for d in given)
    if len(set(dims)) < len(dims):
        raise ValueError(
            f"{name} was given dim={dim}, which names a dimension twice; name each once"
        )
    return tuple(dims)
