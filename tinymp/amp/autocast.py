"""Autocast: which operations run in the lower precision, decided by one table.

Micikevicius et al., Mixed Precision Training (ICLR 2018, arXiv 1710.03740), section 3.3, multiply
FP16 matrices, add up their products in FP32, and take large sums, those of batch normalization and
softmax, in FP32. Autocast does the like for a float32 model without touching it: around each
operation it casts the operands, or sets the dtype of the result, by the operation's category. The
categories are those of PyTorch's CUDA autocast (ATen/autocast_mode.h, version 2.13); each is a
field of the operation (`Op.autocast`).

The casts are ordinary operations: nodes in the graph, whose backward returns the gradient in the
dtype of their input. So a float32 parameter gets a float32 gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from functools import wraps
from typing import Any, TypeGuard

from tinymp.autograd import Op, Operand, Tensor, is_grad_enabled
from tinymp.autograd.modes import AUTOCAST, Autocast
from tinymp.autograd.op import OPS
from tinymp.formats import DType, bfloat16, dtype_of, float16, float32, promote
from tinymp.ops import cast

# Keyed by parameter, version, dtype and grad mode: a cast made under no_grad has no node, and would
# lose the gradient of a later use; one made before an optimizer step is out of date.
_Cache = dict[tuple[int, int, DType, bool], tuple[Tensor, Tensor]]


class autocast:
    """Run matrix products in the block in `dtype`, and what needs range or precision in float32.

    `dtype`: float16 or bfloat16. `enabled=False` switches an outer autocast off. `cache_enabled`:
    cast each parameter once per outermost block. Blocks nest, and serve as decorators.

    PyTorch's own form, `autocast("cuda", dtype=...)`, is accepted; as there, the dtype then is by
    default float16 for "cuda" and bfloat16 for "cpu".

    Raises:
        TypeError: a dtype that is not float16 or bfloat16.
    """

    def __init__(
        self,
        *device_and_dtype: str | DType,
        dtype: str | DType | None = None,
        enabled: bool = True,
        cache_enabled: bool = True,
    ) -> None:
        given = list(device_and_dtype)
        default = float16
        if given and given[0] in ("cuda", "cpu"):
            default = bfloat16 if given.pop(0) == "cpu" else float16
        if len(given) + (dtype is not None) > 1:
            raise TypeError(
                f"autocast was given {device_and_dtype} and dtype={dtype}; give one dtype, after "
                "an optional device type: autocast(tinymp.float16) or autocast('cuda', "
                "tinymp.float16)"
            )
        self.dtype = dtype_of(given[0] if given else dtype or default)
        if self.dtype not in (float16, bfloat16):
            raise TypeError(
                f"autocast was given {self.dtype.name}; it casts matrix products to float16 or "
                "bfloat16"
            )
        self.enabled = enabled
        self.cache_enabled = cache_enabled
        self._tokens: list[Token[Autocast | None]] = []

    def __enter__(self) -> autocast:
        outer = AUTOCAST.get()
        cache = outer.cache if isinstance(outer, _Casting) else {}
        inner = _Casting(self.dtype, cache, self.enabled, self.cache_enabled)
        self._tokens.append(AUTOCAST.set(inner))
        return self

    def __exit__(self, *error: object) -> None:
        AUTOCAST.reset(self._tokens.pop())

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def under_autocast(*arguments: Any, **options: Any) -> Any:
            block = autocast(
                self.dtype, enabled=self.enabled, cache_enabled=self.cache_enabled
            )  # a new one for each call: calls may overlap, in threads or recursion
            with block:
                return function(*arguments, **options)

        return under_autocast


class _Casting:
    """What one autocast block does to each operation."""

    def __init__(self, dtype: DType, cache: _Cache, enabled: bool, cache_enabled: bool) -> None:
        self.dtype = dtype
        self.cache = cache
        self.enabled = enabled
        self.cache_enabled = cache_enabled

    def prepare(
        self, op: Op, operands: tuple[Operand, ...]
    ) -> tuple[tuple[Operand, ...], DType | None]:
        """The operands, cast where the category of `op` wants it, and the dtype of the result.

        The dtype is None where the operands decide.
        """
        if not self.enabled or op.autocast == "follow":
            return operands, None
        if op.autocast == "float32":
            return operands, float32  # no cast: every rule computes in float32 already
        eligible = [x for x in operands if _eligible(x)]
        if len(eligible) < sum(_is_float(x) for x in operands):
            return operands, None  # float64 beside them: promotion would widen again what was cut
        to = self.dtype if op.autocast == "lower" else promote(*[x.dtype for x in eligible])
        return tuple(self._cast(x, to) if _eligible(x) else x for x in operands), None

    def _cast(self, x: Tensor, dtype: DType) -> Tensor:
        is_parameter = x.is_leaf and x.requires_grad and x.dtype is float32
        if not (self.cache_enabled and is_parameter) or x.dtype is dtype:
            return cast(x, dtype)
        key = (id(x), x.version.count, dtype, is_grad_enabled())
        if key not in self.cache:
            self.cache[key] = (x, cast(x, dtype))  # x too: its identity must not be used again
        return self.cache[key][1]


def _is_float(x: Operand) -> bool:
    return isinstance(x, Tensor) and x.dtype.is_float


def _eligible(x: Operand) -> TypeGuard[Tensor]:
    """Whether autocast may cast an operand: a float tensor of 16 or 32 bits, as in PyTorch."""
    return isinstance(x, Tensor) and x.dtype in (float32, float16, bfloat16)


def categories() -> dict[str, list[str]]:
    """The table: for each autocast category, the names of its operations."""
    table: dict[str, list[str]] = {"lower": [], "float32": [], "widest": [], "follow": []}
    for name, op in OPS.items():
        table[op.autocast].append(name)
    return table
