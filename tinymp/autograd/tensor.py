"""The tensor: packed storage, the dtype that gives it meaning, and its place in the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import ref

import numpy as np

from tinymp.autograd.modes import CAPTURE, GRAD_ENABLED, not_for_capture
from tinymp.devices import Device, device_of
from tinymp.formats import DType, gradient_dtype, unpack
from tinymp.numerics.kit import compute_type

if TYPE_CHECKING:
    from tinymp.autograd.graph import Node

    # Operators and methods are the functions of ops/, a floor above; ops/ attaches them to this
    # class when it is imported. A type checker sees them as inherited.
    from tinymp.ops.methods import TensorMethods
else:
    TensorMethods = object

Array = Any
Hook = Callable[["Tensor"], "Tensor | None"]
_registration = count()


class Version:
    """How often a storage was changed in place; shared by every tensor that looks at it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Kind:
    """What an operation asks of an operand before it computes; there is one object for each kind.

    Attributes:
        dtype, device: of the storage.
        is_scalar: whether it has no axes.
        requires_grad: whether backward is to reach it.
        gradient: dtype of its gradient.
    """

    __slots__ = ("device", "dtype", "gradient", "is_scalar", "requires_grad")

    def __init__(self, dtype: DType, device: Device, is_scalar: bool, requires_grad: bool) -> None:
        self.dtype = dtype
        self.device = device
        self.is_scalar = is_scalar
        self.requires_grad = requires_grad
        self.gradient = gradient_dtype(dtype)

    def __reduce__(self) -> Any:
        return kind_of, (self.dtype, self.device, self.is_scalar, self.requires_grad)


@cache
def kind_of(dtype: DType, device: Device, is_scalar: bool, requires_grad: bool) -> Kind:
    """The one object of its kind; a copy is the same one."""
    return Kind(dtype, device, is_scalar, requires_grad)


class Tensor(TensorMethods):
    """An n-dimensional array of one dtype that remembers how it was computed.

    `storage` holds the elements packed: 2 bytes each for float16 (NumPy's float16) and bfloat16
    (`uint16` words), 1 byte for the float8 formats (`uint8` words). Make tensors with
    `tinymp.tensor`, `zeros`, `randn`, ...; this constructor takes storage as it is.

    Attributes:
        dtype: the format of every element.
        grad: the gradient, a Tensor, after `backward` reached this leaf; else None.
        node: the operation that made it; None for a leaf.
    """

    __slots__ = (
        "__weakref__", "_array", "_device", "_version", "dtype", "grad", "hooks", "kind", "node",
    )  # fmt: skip

    def __init__(
        self,
        storage: Array,
        dtype: DType,
        device: Device | None = None,
        version: Version | None = None,
        requires_grad: bool = False,
    ) -> None:
        self._array = storage
        self._device = device or device_of(storage)
        self._version = version
        self.dtype = dtype
        self.kind = kind_of(dtype, self._device, storage.ndim == 0, False)
        self.grad: Tensor | None = None
        self.node: Node | None = None
        self.hooks: dict[int, Hook] | None = None
        if requires_grad:
            self.requires_grad_()

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""
        shape: tuple[int, ...] = self._array.shape
        return shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return int(self._array.ndim)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(self._array.size)

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take in storage: `size` times the dtype's item size."""
        return int(self._array.nbytes)

    @property
    def device(self) -> str:
        """Name of the device that holds the storage, `"cpu"` or `"cuda:0"`."""
        return self._device.name

    @property
    def is_leaf(self) -> bool:
        """True for a tensor that no recorded operation made: backward fills its `grad`."""
        return self.node is None

    @property
    def version(self) -> Version:
        """How often the storage was changed in place; made when someone first asks."""
        if self._version is None:
            self._version = Version()
        return self._version

    @property
    def storage(self) -> Array:
        """The packed array as held, read-only (but CuPy knows no such thing: do not write)."""
        not_for_capture("read the storage of a tensor")
        view = self._array.view()
        if isinstance(view, np.ndarray):
            view.flags.writeable = False
        return view

    @property
    def data(self) -> Tensor:
        """A tensor on the same storage and version counter, outside the graph."""
        shared = Tensor(self._array, self.dtype, self._device, self.version)
        if (capture := CAPTURE.get()) is not None:
            capture.shared(shared, self)
        return shared

    @data.setter
    def data(self, other: Tensor) -> None:
        """Replace storage and dtype, as `Module.to` does; saved tensors notice."""
        if other.shape != self.shape:
            raise ValueError(
                f"data of shape {other.shape} was given to a tensor of shape {self.shape}; the "
                "shape must stay"
            )
        not_for_capture("gave a tensor other data")
        self._array, self._device, self.dtype = other._array, other._device, other.dtype
        self.kind = kind_of(other.dtype, other._device, other.ndim == 0, self.requires_grad)
        self.version.count += 1

    def detach(self) -> Tensor:
        """A tensor on the same storage that takes no gradient and ends the graph here."""
        return self.data

    @property
    def requires_grad(self) -> bool:
        """Whether backward computes a gradient for this tensor, or passes through it."""
        return self.kind.requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` of a leaf and return the tensor itself."""
        if self.node is not None:
            raise RuntimeError(
                f"requires_grad_ was called on the result of {self.node.name!r}; only leaves can "
                "be told whether they need a gradient; use .detach() to cut the graph, "
                ".retain_grad() to keep this gradient"
            )
        if requires_grad and self.dtype.kind != "float":
            raise TypeError(
                f"requires_grad_ was called on a {self.dtype.name} tensor; only floating-point "
                "tensors have gradients"
            )
        self.kind = kind_of(self.dtype, self._device, self.ndim == 0, bool(requires_grad))
        return self

    # Its values (as users see them: ops.values)

    def _values(self) -> Array:
        not_for_capture("read values of a tensor")
        return unpack(self._array, self.dtype, compute_type(self.dtype))

    def _write(self, index: Any, values: Tensor) -> None:
        """Overwrite elements with those of a tensor of this dtype; count a new version."""
        if self.requires_grad and GRAD_ENABLED.get():
            raise RuntimeError(
                f"an in-place change of a tensor of shape {self.shape} that requires a gradient "
                "would be missing from the graph; compute a new tensor instead, or change it "
                "under tinymp.no_grad()"
            )
        if (capture := CAPTURE.get()) is not None:
            capture.write(self, index, values)
            return
        self._array[index] = values._array
        self.version.count += 1

    # Its gradient

    #: Carries gradients to the leaves; see `backward.backward`, which attaches itself here.
    backward: Callable[..., None]

    def register_hook(self, hook: Hook) -> Callable[[], None]:
        """Call `hook(gradient)` once the gradient of this tensor is complete in a backward pass.

        What the hook returns replaces the gradient, None leaves it. Returns a function that removes
        the hook.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "register_hook was called on a tensor that does not require a gradient; none will "
                "arrive; set requires_grad=True first"
            )
        not_for_capture("registered a hook")
        source = self.node or self
        hooks = source.hooks = {} if source.hooks is None else source.hooks
        key = next(_registration)
        hooks[key] = hook

        def remove() -> None:
            hooks.pop(key, None)

        return remove

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in its `grad`, too."""
        not_for_capture("had a gradient retained")
        if self.node is not None:
            weak = ref(self)  # the graph must not keep its own tensors alive

            def keep(gradient: Tensor) -> None:
                if (tensor := weak()) is not None:
                    tensor.grad = Tensor(gradient._array.copy(), gradient.dtype)

            self.register_hook(keep)

    # Comparison is elementwise (ops/), so identity is what hashes.
    __hash__ = object.__hash__
    # Let NumPy arrays on the left hand the operation over to us.
    __array_ufunc__ = None


def new_tensor(storage: Array, kind: Kind) -> Tensor:
    """A tensor of a kind that is known: what `Tensor(...)` makes, without its questions."""
    tensor = Tensor.__new__(Tensor)
    tensor._array = storage
    tensor._device = kind.device
    tensor._version = None
    tensor.dtype = kind.dtype
    tensor.kind = kind
    tensor.grad = tensor.node = tensor.hooks = None
    return tensor
