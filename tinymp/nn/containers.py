"""Modules made of modules: one after the other, or in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from tinymp.nn.module import Module


class _Numbered(Module):
    """Children in an order, reached by number."""

    def __len__(self) -> int:
        return len(self._members())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._members().values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)._of(list(self)[index])
        return self._members()[self._name(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), module)

    def append(self, module: Module) -> Self:
        """Add `module` at the end."""
        _check_module(module, type(self).__name__)
        setattr(self, str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add each of `modules` at the end."""
        for module in modules:
            self.append(module)
        return self

    @classmethod
    def _of(cls, modules: list[Module]) -> Module:
        raise NotImplementedError

    def _members(self) -> dict[str, Module]:
        # Not named_children: a module that stands in two places is there twice.
        return dict(self._own(Module))

    def _name(self, index: int) -> str:
        names = list(self._members())
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"{type(self).__name__} was given index {index}; it holds {len(names)} modules, "
                "counted from 0"
            )
        return names[index]


class Sequential(_Numbered):
    """Modules applied one after the other: `Sequential(a, b)(x)` is `b(a(x))`.

    Takes modules, or one dictionary of names and modules.

    Raises:
        TypeError: something that is not a module.
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        named: Iterable[tuple[str, Any]] = ((str(i), m) for i, m in enumerate(modules))
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = modules[0].items()
        for name, module in named:
            _check_module(module, "Sequential")
            setattr(self, name, module)

    @classmethod
    def _of(cls, modules: list[Module]) -> Module:
        return Sequential(*modules)

    def forward(self, x: Any) -> Any:
        """x: what the first module takes."""
        for module in tuple(vars(self).values()):  # as iterating does, without its detours
            if isinstance(module, Module):
                x = module(x)
        return x


class ModuleList(_Numbered):
    """A list whose modules are children, which those in a plain Python list are not.

    Raises:
        TypeError: something that is not a module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    @classmethod
    def _of(cls, modules: list[Module]) -> Module:
        return cls(modules)


class ModuleDict(Module):
    """Modules by name, which are children, as those in a plain dictionary are not.

    Raises:
        TypeError: something that is not a module.
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        _check_module(module, "ModuleDict")
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Module:
        if name not in self.keys():
            raise KeyError(f"there is no module {name!r}; there are {', '.join(self.keys())}")
        module: Module = getattr(self, name)
        return module

    def __len__(self) -> int:
        return len(self.keys())

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.keys()

    def keys(self) -> list[str]:
        """The names, in the order in which they were given."""
        return [name for name, _ in self._own(Module)]

    def values(self) -> list[Module]:
        """The modules."""
        return [module for _, module in self._own(Module)]

    def items(self) -> list[tuple[str, Module]]:
        """Names and modules."""
        return list(self._own(Module))


def _check_module(module: Any, name: str) -> None:
    if not isinstance(module, Module):
        raise TypeError(
            f"{name} was given a {type(module).__name__}; it takes modules; write a function such "
            "as relu as its module, tinymp.nn.ReLU()"
        )
