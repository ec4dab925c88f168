"""Operators and methods of Tensor: each is the function of the same name.

The engine stands below the operations, so it cannot name them. `attach` hands them to its Tensor
class once, when `tinymp.ops` is imported.
"""

from __future__ import annotations

from inspect import isfunction
from typing import Any

from tinymp.ops import (
    activations,
    arithmetic,
    conversion,
    elementary,
    elementwise,
    indexing,
    inplace,
    linear_algebra,
    logic,
    normalization,
    order,
    rearrange,
    reductions,
    scans,
    shape,
    values,
)
from tinymp.ops.arguments import explained


class TensorMethods:
    """What `tinymp.ops` adds to Tensor."""

    __slots__ = ()

    __add__ = add = arithmetic.add
    __sub__ = sub = arithmetic.sub
    __mul__ = mul = arithmetic.mul
    __truediv__ = div = arithmetic.div
    __pow__ = pow = arithmetic.pow
    __floordiv__ = floor_divide = arithmetic.floor_divide
    __mod__ = remainder = arithmetic.remainder
    __neg__ = neg = arithmetic.neg
    __matmul__ = matmul = linear_algebra.matmul
    __eq__ = eq = arithmetic.eq  # type: ignore[assignment]
    __ne__ = ne = arithmetic.ne  # type: ignore[assignment]
    __lt__ = lt = arithmetic.lt
    __le__ = le = arithmetic.le
    __gt__ = gt = arithmetic.gt
    __ge__ = ge = arithmetic.ge
    __and__ = bitwise_and = logic.bitwise_and
    __or__ = bitwise_or = logic.bitwise_or
    __xor__ = bitwise_xor = logic.bitwise_xor
    __invert__ = bitwise_not = logic.bitwise_not
    __rtruediv__ = arithmetic.divide_by
    __abs__ = abs = elementwise.abs
    __getitem__ = indexing.getitem
    __setitem__ = inplace.setitem

    def __radd__(self: Any, other: Any) -> Any:
        return arithmetic.add(other, self)

    def __rsub__(self: Any, other: Any) -> Any:
        return arithmetic.sub(other, self)

    def __rmul__(self: Any, other: Any) -> Any:
        return arithmetic.mul(other, self)

    def __rfloordiv__(self: Any, other: Any) -> Any:
        return arithmetic.floor_divide(other, self)

    def __rmod__(self: Any, other: Any) -> Any:
        return arithmetic.remainder(other, self)

    def __rpow__(self: Any, other: Any) -> Any:
        return arithmetic.pow(other, self)

    # These commute.
    __rand__ = logic.bitwise_and
    __ror__ = logic.bitwise_or
    __rxor__ = logic.bitwise_xor

    numpy = values.numpy
    item = values.item
    numel = values.numel
    tolist = values.tolist
    __bool__ = values.as_bool
    __float__ = values.as_float
    __int__ = values.as_int
    __index__ = values.as_index
    __len__ = values.length
    __iter__ = values.iterate
    __repr__ = values.text

    exp = elementary.exp
    expm1 = elementary.expm1
    log = elementary.log
    log1p = elementary.log1p
    log2 = elementary.log2
    log10 = elementary.log10
    sqrt = elementary.sqrt
    rsqrt = elementary.rsqrt
    square = elementary.square
    reciprocal = elementary.reciprocal
    sin = elementary.sin
    cos = elementary.cos
    tan = elementary.tan
    asin = elementary.asin
    acos = elementary.acos
    atan = elementary.atan
    sinh = elementary.sinh
    cosh = elementary.cosh
    tanh = elementary.tanh
    asinh = elementary.asinh
    acosh = elementary.acosh
    atanh = elementary.atanh
    erf = elementary.erf
    relu = activations.relu
    sigmoid = activations.sigmoid

    sign = elementwise.sign
    floor = elementwise.floor
    ceil = elementwise.ceil
    round = elementwise.round
    trunc = elementwise.trunc
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    clamp = elementwise.clamp
    clip = elementwise.clip
    masked_fill = elementwise.masked_fill
    isnan = logic.isnan
    isinf = logic.isinf
    isfinite = logic.isfinite
    logical_and = logic.logical_and
    logical_or = logic.logical_or
    logical_xor = logic.logical_xor
    logical_not = logic.logical_not
    equal = logic.equal
    allclose = logic.allclose

    sum = reductions.sum
    mean = reductions.mean
    var = reductions.var
    std = reductions.std
    prod = reductions.prod
    norm = reductions.norm
    logsumexp = reductions.logsumexp
    all = reductions.all
    any = reductions.any
    count_nonzero = reductions.count_nonzero
    max = order.max
    min = order.min
    amax = order.amax
    amin = order.amin
    argmax = order.argmax
    argmin = order.argmin
    median = order.median
    sort = order.sort
    argsort = order.argsort
    topk = order.topk
    cumsum = scans.cumsum
    cumprod = scans.cumprod
    softmax = normalization.softmax
    log_softmax = normalization.log_softmax

    reshape = shape.reshape
    view = shape.view
    flatten = shape.flatten
    permute = shape.permute
    transpose = shape.transpose
    t = shape.t
    expand = shape.expand
    broadcast_to = shape.broadcast_to
    squeeze = shape.squeeze
    unsqueeze = shape.unsqueeze
    split = shape.split
    take_along_dim = indexing.take_along_dim
    gather = indexing.gather
    scatter_add = indexing.scatter_add
    index_select = indexing.index_select
    flip = rearrange.flip
    roll = rearrange.roll
    repeat = rearrange.repeat
    tile = rearrange.tile
    tril = rearrange.tril
    triu = rearrange.triu
    diagonal = rearrange.diagonal
    trace = rearrange.trace
    diag = rearrange.diag
    repeat_interleave = rearrange.repeat_interleave
    movedim = rearrange.movedim
    moveaxis = rearrange.moveaxis
    swapaxes = rearrange.swapaxes
    swapdims = rearrange.swapdims
    unbind = rearrange.unbind
    chunk = rearrange.chunk
    mm = linear_algebra.mm
    bmm = linear_algebra.bmm
    mv = linear_algebra.mv
    dot = linear_algebra.dot
    outer = linear_algebra.outer

    to = conversion.to
    double = conversion.double
    float = conversion.float_
    half = conversion.half
    bfloat16 = conversion.to_bfloat16
    cpu = conversion.cpu
    cuda = conversion.cuda
    clone = conversion.clone

    copy_ = inplace.copy_
    fill_ = inplace.fill_
    zero_ = inplace.zero_
    add_ = inplace.add_
    mul_ = inplace.mul_
    sub_ = inplace.sub_
    div_ = inplace.div_
    clamp_ = inplace.clamp_

    def dim(self: Any) -> int:
        """Number of dimensions."""
        return int(self.ndim)

    def contiguous(self: Any) -> Any:
        """The tensor itself: how it lies in memory is no concern of those who use it."""
        return self

    def expand_as(self: Any, other: Any) -> Any:
        """`expand` to the shape of another tensor."""
        return shape.expand(self, other.shape)

    def view_as(self: Any, other: Any) -> Any:
        """`reshape` to the shape of another tensor."""
        return shape.reshape(self, other.shape)

    reshape_as = view_as

    def type_as(self: Any, other: Any) -> Any:
        """The tensor in the dtype of another one."""
        return conversion.to(self, other.dtype)

    @property
    def T(self: Any) -> Any:
        """Dimensions in reverse order."""
        return shape.permute(self, tuple(reversed(range(self.ndim))))

    @property
    def mT(self: Any) -> Any:
        """The last two dimensions swapped."""
        return shape.transpose(self, -2, -1)


def attach(tensor_class: type) -> None:
    """Give the engine's Tensor class the methods above; their errors name them."""
    for name, method in vars(TensorMethods).items():
        if name not in (
            "__module__",
            "__doc__",
            "__slots__",
            "__hash__",
            "__dict__",
            "__weakref__",
        ):
            special = name.startswith("__") or not isfunction(method)
            setattr(tensor_class, name, method if special else explained(method))
