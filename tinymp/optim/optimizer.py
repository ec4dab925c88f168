"""The optimizer: which parameters it changes, with which options, and what it remembers of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from tinymp.autograd import Tensor, enable_grad
from tinymp.autograd.modes import not_for_capture
from tinymp.formats.rounding import check_mode
from tinymp.ops import tensor, zeros_like
from tinymp.optim.checks import NOTES, at_least, check_gradient, check_parameter, check_saved
from tinymp.optim.update import Rule, apply_rule

Group = dict[str, Any]
Parameters = Iterable[Tensor] | Iterable[Group]


class Optimizer(ABC):
    """Base class of the optimizers: parameter groups, state, and the loop over them, as in PyTorch.

    A subclass is a `rule` (see `optim.update`), the default options that the rule takes as
    keywords, and the names of the state tensors that it needs. Two options belong to every
    optimizer:

    `rounding`
        mode that rounds the updated parameter to its dtype, such as "stochastic"; None takes the
        active one. Parameters of float32 or float64 are computed as they are stored: no mode
        matters.
    `compensated`
        keep what rounding the parameter lost in a tensor of the parameter's dtype and add it to
        the next step (Kahan's summation).

    Both keep small updates of 2-byte parameters from vanishing without float32 master weights
    (Zamirai, Zhang, Aberger & De Sa, Revisiting BFloat16 Training, arXiv 2010.06192).

    State tensors have the dtype of their parameter: float32 master weights have float32 state.

    Attributes:
        param_groups: dictionaries of `params`, a list of tensors, and the options for them.
        state: for each parameter that was stepped, its number of steps (`step`) and state tensors
            by name.
    """

    rule: ClassVar[Rule]

    def __init__(
        self,
        params: Parameters,
        options: Mapping[str, Any],
        *,
        rounding: str | None = None,
        compensated: bool = False,
    ) -> None:
        self._rule_options = tuple(options)
        self.defaults: Group = {**options, "rounding": rounding, "compensated": compensated}
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, Tensor | dict):
            raise TypeError(
                f"{type(self).__name__} was given a single {type(params).__name__}; it takes a "
                "list of parameters, such as model.parameters(), or a list of groups"
            )
        given: list[Any] = list(params)
        if not given:
            raise ValueError(
                f"{type(self).__name__} was given no parameters; pass model.parameters() of a "
                "model that has some (an iterator that was walked once before is empty)"
            )
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    @abstractmethod
    def slots(self, group: Group) -> tuple[str, ...]:
        """Names of the state tensors that the rule takes under the options of `group`, in order."""

    def check(self, group: Group) -> None:
        """Raise a ValueError for an option that makes no sense; a subclass adds its own."""
        at_least(group, "lr", 0)
        at_least(group, "weight_decay", 0)
        if group["rounding"] is not None:
            check_mode(group["rounding"])

    def add_param_group(self, group: Group) -> None:
        """Add parameters with options of their own; options left out are the optimizer's defaults.

        Raises:
            TypeError: an unknown option, or a parameter that is not a floating-point tensor.
            ValueError: no parameters, one that is not a leaf or given twice, an option out of
                range.
        """
        name = type(self).__name__
        unknown = [key for key in group if key not in self.defaults and key not in NOTES]
        if unknown:
            raise TypeError(
                f"{name} was given the unknown option {', '.join(map(repr, unknown))} in a "
                f"parameter group; its options are {', '.join(self.defaults)}"
            )
        if "params" not in group:
            raise ValueError(
                f"{name} was given a parameter group without 'params', only "
                f"{', '.join(group) or 'nothing'}; each group names its parameters there"
            )
        params = group["params"]
        complete = {
            **self.defaults,
            **group,
            "params": [params] if isinstance(params, Tensor) else list(params),
        }
        if not complete["params"]:
            raise ValueError(f"{name} was given a parameter group with no parameters; leave it out")
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for position, parameter in enumerate(complete["params"]):
            check_parameter(parameter, position, name)
            if id(parameter) in known:
                raise ValueError(
                    f"{name} was given parameter {position} (shape {parameter.shape}) twice; each "
                    "may be in one group once, or a step would change it twice; "
                    "model.parameters() names tied weights once"
                )
            known.add(id(parameter))
        self.check(complete)
        self.param_groups.append(complete)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or overwrite them with zeros."""
        not_for_capture("dropped gradients")
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, in place.

        `closure`, if given, computes the loss and its gradients first; its result is returned.

        Raises:
            ValueError: a gradient of another shape than its parameter, or on another device.
        """
        not_for_capture("took a step of an optimizer")
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            names = self.state_names(group)
            options = {name: group[name] for name in self._rule_options}
            updates = self._updates(group["params"], names)
            apply_rule(
                type(self).rule, updates, names, options, group["rounding"], group["compensated"]
            )
        return loss

    def state_names(self, group: Group) -> tuple[str, ...]:
        """Names of all state tensors under the options of `group`; the compensation is the last."""
        return self.slots(group) + (("compensation",) if group["compensated"] else ())

    def state_of(self, parameter: Tensor, names: tuple[str, ...]) -> dict[str, Any]:
        """State of `parameter`: zeros where one of the names is asked for the first time."""
        state = self.state.get(parameter)
        if state is None:
            state = self.state[parameter] = {"step": 0}
        for name in names:
            if name not in state:
                state[name] = zeros_like(parameter)
        return state

    def _updates(
        self, parameters: list[Tensor], names: tuple[str, ...]
    ) -> Iterator[tuple[Tensor, Tensor, dict[str, Any]]]:
        """Parameters that have a gradient, with it and their state."""
        for parameter in parameters:
            if (gradient := parameter.grad) is not None:
                check_gradient(parameter, gradient)
                yield parameter, gradient, self.state_of(parameter, names)

    def state_dict(self) -> dict[str, Any]:
        """State and options, in PyTorch's form: parameters are represented by their position.

        `{"state": {0: {"step": ..., ...}, ...}, "param_groups": [{..., "params": [0, ...]}, ...]}`.
        The state tensors are this optimizer's own: stepping on changes them; clone what must stay.
        """
        number = {id(parameter): i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {number[id(p)]: dict(state) for p, state in self.state.items()},
            "param_groups": [
                {**group, "params": [number[id(p)] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where the optimizer that gave `state_dict` was, with a copy of its state.

        The parameters are matched by position. State keeps its dtype and goes to the device of its
        parameter.

        Raises:
            ValueError: the state of another optimizer or another model. Nothing is changed then.
        """
        groups, saved = state_dict["param_groups"], state_dict["state"]
        check_saved(self, groups, saved)
        parameters = self._parameters()
        for group, loaded in zip(self.param_groups, groups, strict=True):
            # JSON, in which checkpoints keep options, knows no tuples.
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in loaded.items()}
            group.update({**options, "params": group["params"]})
        self.state = {
            parameters[int(i)]: {
                name: tensor(value, device=parameters[int(i)].device)
                if isinstance(value, Tensor)
                else value
                for name, value in state.items()
            }
            for i, state in saved.items()
        }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {value}" for key, value in group.items() if key != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"
