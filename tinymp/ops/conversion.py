"""To another dtype, to another device, to a storage of its own."""

from __future__ import annotations

from typing import Any

from tinymp.autograd import Op, Tensor, apply
from tinymp.devices import device_of, get_device
from tinymp.formats import DType, bfloat16, dtype_of, float16, float32, float64
from tinymp.ops.dims import check_tensors
from tinymp.ops.elementwise import cast

Array = Any

TRANSFER = Op(
    "transfer",
    lambda xp, x, *, device, source: transferred(x, device),
    x=lambda xp, g, source: transferred(g, source),
    forward_on="words",
)
CLONE = Op("clone", lambda xp, x: x.copy(), x=lambda xp, g: g, forward_on="words")


def transferred(array: Array, device: str) -> Array:
    """A copy of `array` on `device`; `array` itself where it already is there."""
    source, target = device_of(array), get_device(device)
    return array if source is target else target.asarray(source.to_numpy(array))


def to(
    x: Tensor,
    *targets: DType | str,
    dtype: DType | str | None = None,
    device: str | None = None,
) -> Tensor:
    """`x` in another dtype and/or on another device: `x.to(mp.float16)`, `x.to(device="cuda")`.

    Rounds once, by the active mode; returns `x` itself where nothing changes. Gradients flow back
    in the dtype and to the device of `x`.

    Raises:
        TypeError: a target that is neither a dtype nor a device.
    """
    check_tensors("to", x)
    for target in (*targets, *filter(None, (dtype, device))):
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "cuda"):
            place = get_device(target).name
            if place != x.device:
                x = apply(TRANSFER, x, device=place, source=x.device)
        else:
            x = cast(x, dtype_of(target))
    return x


def double(x: Tensor) -> Tensor:
    """`x` in float64."""
    return cast(x, float64)


def float_(x: Tensor) -> Tensor:
    """`x` in float32."""
    return cast(x, float32)


def half(x: Tensor) -> Tensor:
    """`x` rounded to float16."""
    return cast(x, float16)


def to_bfloat16(x: Tensor) -> Tensor:
    """`x` rounded to bfloat16."""
    return cast(x, bfloat16)


def cpu(x: Tensor) -> Tensor:
    """`x` on the CPU."""
    return to(x, "cpu")


def cuda(x: Tensor) -> Tensor:
    """`x` on the first GPU."""
    return to(x, "cuda")


def clone(x: Tensor) -> Tensor:
    """A copy of `x` with storage of its own, in the graph."""
    return apply(CLONE, x)
