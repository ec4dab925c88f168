"""Dimensions as users name them, made positive and checked."""

from __future__ import annotations

from tinymp.autograd import Tensor

Dims = int | tuple[int, ...] | list[int] | None


def one_dim(dim: int, ndim: int, name: str) -> int:
    """`dim` counted from the front.

    Raises:
        IndexError: there is no such dimension.
    """
    if not -ndim <= dim < ndim:
        raise IndexError(
            f"{name} was given dim={dim} for a tensor of {ndim} dimensions; it must be "
            + (f"from {-ndim} to {ndim - 1}" if ndim else "left out: the tensor has none")
        )
    return dim % ndim


def many_dims(dim: Dims, x: Tensor, name: str) -> tuple[int, ...]:
    """The chosen dimensions of `x` counted from the front, in order; all of them for None.

    Raises:
        IndexError: there is no such dimension.
        ValueError: one is named twice.
    """
    if dim is None:
        return tuple(range(x.ndim))
    given = (dim,) if isinstance(dim, int) else tuple(dim)
    dims = sorted(one_dim(d, x.ndim, name) for d in given)
    if len(set(dims)) < len(dims):
        raise ValueError(
            f"{name} was given dim={dim}, which names a dimension twice; name each once"
        )
    return tuple(dims)
