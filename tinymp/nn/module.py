"""The module: a part of a model that holds parameters, buffers and other modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeVar

from tinymp.autograd import Tensor, no_grad
from tinymp.autograd.modes import CAPTURE, not_for_capture
from tinymp.formats import DType, bfloat16, dtype_of, float16, float32, float64, gradient_dtype
from tinymp.nn.parameter import Parameter
from tinymp.ops import to

Named = TypeVar("Named")


class Mismatch(NamedTuple):
    """Names that a model and a state dictionary do not share."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def _no_forward(self: Module, *inputs: Any) -> Any:
    raise NotImplementedError(
        f"{type(self).__name__} was called but has no forward; define forward(self, ...) in it"
    )


class Module:
    """Base class of layers and models, as in PyTorch.

    A module is an ordinary object. Those of its attributes that are a `Parameter` are its
    parameters, those that are a `Module` its children, in the order in which they were first
    assigned. Tensors that belong to the state but are not learned are announced with
    `register_buffer`.

    A subclass defines `forward`; calling the module calls it.
    """

    training: bool = True
    forward: Callable[..., Any] = _no_forward
    # Buffers by name, and whether each belongs into the state dictionary. The class's own mapping
    # stays empty: register_buffer gives each module that has buffers a mapping of its own.
    _persistent: Mapping[str, bool] = {}

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if (capture := CAPTURE.get()) is not None:
            capture.called(self)
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        is_plain = isinstance(value, Tensor) and not isinstance(value, Parameter)
        if is_plain and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"a plain tensor was assigned to parameter {name!r} of {type(self).__name__}, "
                "which would no longer be learned; wrap it in tinymp.nn.Parameter, or change the "
                f"values with {name}.data.copy_(...)"
            )
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep `tensor` as attribute `name`: part of the state, moved by `to`, but not learned.

        A buffer that is not `persistent` is left out of the state dictionary.
        """
        if hasattr(self, name) and name not in self._persistent:
            raise KeyError(
                f"register_buffer was given the name {name!r}, but {type(self).__name__} already "
                "has an attribute of that name; choose another"
            )
        self._persistent = {**self._persistent, name: persistent}
        setattr(self, name, tensor)

    # What it holds

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules directly inside this one, each once, with their names."""
        return _each_once(self._own(Module))

    def children(self) -> Iterator[Module]:
        """Modules directly inside this one, each once."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all inside it, each once, with their dotted names."""
        return _each_once(self._tree(prefix))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Parameters with their dotted names. One with several names (tied weights) comes once."""
        return _each_once(
            (_join(path, name), value)
            for path, module in (self._tree(prefix) if recurse else [(prefix, self)])
            for name, value in module._own(Parameter)
        )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Parameters, each once: what an optimizer takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Buffers with their dotted names, each once."""
        return _each_once(
            (_join(path, name), value)
            for path, module in (self._tree(prefix) if recurse else [(prefix, self)])
            for name in module._persistent
            if (value := getattr(module, name)) is not None
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def _tree(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """This module and all inside it under every name they have."""
        yield prefix, self
        for name, child in self._own(Module):
            yield from child._tree(_join(prefix, name))

    def _own(self, kind: type[Named]) -> Iterator[tuple[str, Named]]:
        """Attributes of this module itself that are of one kind."""
        return ((name, x) for name, x in vars(self).items() if isinstance(x, kind))

    # Its state

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers under every name they have.

        The tensors share storage with the module: training on changes them; clone what must stay.
        """
        return {name: tensor.data for name, tensor in self._state()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Mismatch:
        """Copy values from `state_dict` into the parameters and buffers of the same names.

        Each is rounded to the dtype, and moved to the device, of the one it is copied into. With
        `strict=False` names that only one side has are not an error; they are returned.

        Raises:
            RuntimeError: missing or unexpected names, or a tensor of another shape. Nothing is
                changed then.
        """
        own = dict(self._state())
        missing = [name for name in own if name not in state_dict]
        unexpected = [name for name in state_dict if name not in own]
        shared = [(name, own[name], state_dict[name]) for name in own if name in state_dict]
        problems = [
            f"{name}: shape {tuple(given.shape)} was given, {tensor.shape} is expected"
            for name, tensor, given in shared
            if tuple(given.shape) != tensor.shape
        ]
        advice = "build the model as it was when the state was saved"
        if strict and (missing or unexpected):
            problems += [f"missing: {name}" for name in missing]
            problems += [f"unexpected: {name}" for name in unexpected]
            advice += ", or pass strict=False to load what fits by name"
        if problems:
            raise RuntimeError(
                f"the state dictionary does not fit {type(self).__name__}; nothing was loaded; "
                f"{advice}:\n  " + "\n  ".join(problems)
            )
        with no_grad():
            for _, tensor, given in shared:
                tensor.copy_(given)
        return Mismatch(missing, unexpected)

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._tree(""):
            for name, value in vars(module).items():
                if isinstance(value, Parameter) or (
                    module._persistent.get(name, False) and value is not None
                ):
                    yield _join(path, name), value

    # What can be done to it

    def train(self, mode: bool = True) -> Self:
        """Put this module and all inside it into training mode; with False, evaluation mode."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: dropout passes everything."""
        return self.train(False)

    def to(
        self,
        *targets: DType | str,
        dtype: DType | str | None = None,
        device: str | None = None,
    ) -> Self:
        """Convert parameters, buffers and gradients to a dtype and/or a device, in place.

        A dtype must be floating-point and reaches floating-point tensors only. The parameters
        remain the same objects, so an optimizer that was given them keeps them; its own state it
        keeps as it is.

        Raises:
            TypeError: a target that is neither a device nor a floating-point dtype.
        """
        targets += tuple(target for target in (dtype, device) if target is not None)
        devices = [
            t for t in targets if isinstance(t, str) and t.partition(":")[0] in ("cpu", "cuda")
        ]
        dtypes = [dtype_of(target) for target in targets if target not in devices]
        for target in dtypes:
            if target.kind != "float":
                raise TypeError(
                    f"Module.to was given {target.name}; parameters are floating-point; use a "
                    "dtype such as tinymp.float16"
                )
        tensors: list[Tensor] = [*self.parameters(), *self.buffers()]
        with no_grad():
            for tensor in tensors:
                before = tensor.data
                after = to(before, *devices, *(dtypes if tensor.dtype.kind == "float" else []))
                if after is before:
                    continue  # and whatever was saved for backward stays up to date
                tensor.data = after
                if tensor.grad is not None:
                    tensor.grad = to(tensor.grad, gradient_dtype(tensor.dtype), tensor.device)
        return self

    def double(self) -> Self:
        """Convert to float64, in place."""
        return self.to(float64)

    def float(self) -> Self:
        """Convert to float32, in place."""
        return self.to(float32)

    def half(self) -> Self:
        """Round to float16, in place."""
        return self.to(float16)

    def bfloat16(self) -> Self:
        """Round to bfloat16, in place."""
        return self.to(bfloat16)

    def cpu(self) -> Self:
        """Move to the CPU, in place."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Move to the first GPU, in place."""
        return self.to("cuda")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or overwrite them with zeros."""
        not_for_capture("dropped gradients")
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn the parameters, or, with False, freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call `function` on every module inside this one, then on this one, e.g. to initialise."""
        for module in self.children():
            module.apply(function)
        function(self)
        return self

    # How it looks

    def extra_repr(self) -> str:
        """What `repr` shows in the parentheses; a subclass tells its settings here."""
        return ""

    def __repr__(self) -> str:
        name = type(self).__name__
        lines = [f"({child}): {module!r}" for child, module in self._own(Module)]
        if not lines:
            return f"{name}({self.extra_repr()})"
        body = "\n".join([self.extra_repr(), *lines] if self.extra_repr() else lines)
        return f"{name}(\n  " + body.replace("\n", "\n  ") + "\n)"


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _each_once(named: Iterator[tuple[str, Named]]) -> Iterator[tuple[str, Named]]:
    """The pairs whose object did not come before under another name."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value
