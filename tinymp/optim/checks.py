"""What an optimizer refuses, and what it says then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinymp.autograd import Tensor

if TYPE_CHECKING:
    from tinymp.optim.optimizer import Optimizer

# What a group may hold beside the options: its parameters, a name, and what schedules note there.
NOTES = ("params", "name", "initial_lr")


def at_least(options: Mapping[str, Any], name: str, lowest: float) -> None:
    """Raise a ValueError unless option `name` is a number of at least `lowest`; NaN is not."""
    if not options[name] >= lowest:
        raise ValueError(f"{name}={options[name]} was given; it must be at least {lowest}")


def check_parameter(parameter: Any, position: int, optimizer: str) -> None:
    """Raise a TypeError or ValueError unless `parameter` is something that can be optimized."""
    if not isinstance(parameter, Tensor):
        raise TypeError(
            f"{optimizer} was given a {type(parameter).__name__} as parameter {position}; it takes "
            "tensors, such as those of model.parameters()"
        )
    if parameter.dtype.kind != "float":
        raise TypeError(
            f"{optimizer} was given a {parameter.dtype.name} tensor as parameter {position}; only "
            "floating-point tensors have gradients to follow"
        )
    if parameter.node is not None:
        raise ValueError(
            f"{optimizer} was given the result of {parameter.node.name!r} as parameter "
            f"{position}; only leaves get a gradient in .grad; optimize what it was computed from, "
            "or .detach() it first"
        )


def check_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Raise a ValueError unless the gradient is where the parameter is, and of its shape."""
    if gradient._array.shape != parameter._array.shape:
        raise ValueError(
            f"a parameter of shape {parameter.shape} has a gradient of shape {gradient.shape}; the "
            "shapes must be equal; what was assigned to .grad?"
        )
    if gradient._device is not parameter._device:
        raise ValueError(
            f"a parameter on {parameter.device} has a gradient on {gradient.device}; both must be "
            "on one device; call zero_grad() after moving a model"
        )


def check_saved(
    optimizer: Optimizer,
    groups: Sequence[Mapping[str, Any]],
    state: Mapping[Any, Mapping[str, Any]],
) -> None:
    """Raise a ValueError unless a saved state belongs to an optimizer and a model like these."""
    name = type(optimizer).__name__
    expected = [len(group["params"]) for group in optimizer.param_groups]
    given = [len(group["params"]) for group in groups]
    if given != expected:
        raise ValueError(
            f"the state was saved with parameter groups of {given} parameters, but this {name} has "
            f"{expected}; build model and optimizer as they were then"
        )
    for group in groups:
        missing = sorted(set(optimizer.defaults) - set(group))
        unknown = sorted(set(group) - set(optimizer.defaults) - set(NOTES))
        if missing or unknown:
            raise ValueError(
                f"the state was saved by another optimizer than {name}: it lacks the options "
                f"{missing} and has {unknown} beside; load it into an optimizer of the class that "
                "saved it"
            )
    parameters = [
        (parameter, options)
        for group, options in zip(optimizer.param_groups, groups, strict=True)
        for parameter in group["params"]
    ]
    for i, entries in state.items():
        if not 0 <= int(i) < len(parameters):
            raise ValueError(
                f"the state has an entry for parameter {i}, but this {name} has {len(parameters)} "
                "parameters, counted from 0"
            )
        parameter, options = parameters[int(i)]
        needed = ("step", *optimizer.state_names(dict(options)))
        if set(entries) != set(needed):
            raise ValueError(
                f"the state of parameter {i} holds {', '.join(entries)}, but {name} with these "
                f"options keeps {', '.join(needed)}"
            )
        for key in needed[1:]:
            value = entries[key]
            if not isinstance(value, Tensor) or value.shape != parameter.shape:
                shape = getattr(value, "shape", type(value).__name__)
                raise ValueError(
                    f"{key!r} of parameter {i} was saved as {shape}, but the parameter is a tensor "
                    f"of shape {parameter.shape}; this is the state of another model"
                )
