"""Arrays in a program that is written down: in which form are they there, and which is needed?

A cast is written where a line needs what it gives. So what a rule computed is rounded before the
next one sees it, but it becomes words only for someone who asks for words. Up to `FEW` elements
stay decoded in the meantime, in 64 KiB at most; a longer array becomes words at once, and is
decoded for each operation, as it is without a program.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinymp.formats import DType, RoundingState, unpack
from tinymp.formats.few import FEW
from tinymp.transforms.script import Script


@dataclass(slots=True)
class Variable:
    """An array: the names under which it is in a script, in up to three forms.

    Attributes:
        script: where it is.
        name: what it is called in general.
        dtype: of the tensor that it stands for.
        mode: how what was computed is rounded.
        computed: its name in float32, before it is rounded.
        values: its name in float32, rounded.
        storage: its name as a tensor of its dtype stores it.
    """

    script: Script
    name: str
    dtype: DType
    mode: str = ""
    computed: str = ""
    values: str = ""
    storage: str = ""

    def as_storage(self) -> str:
        """Its name as it is stored, in a script where it now has one."""
        if not self.storage:
            self.storage = self.script.name(f"{self.name}_words")
            dtype, mode = self._dtype(), self.mode or self.dtype.default_rounding
            computed = self.computed or self.values
            self.script.line(f"{self.storage} = pack({computed}, {dtype}, {mode!r})")
        return self.storage

    def as_values(self, compute: Any = np.float32) -> str:
        """Its values in a type to compute in: a name, or how they are had."""
        if self.dtype.storage == compute:
            return self.as_storage()
        if compute != np.float32:
            compute = self.script.constant(compute, "compute")
            return f"unpack({self.as_storage()}, {self._dtype()}, {compute})"
        if self.computed:
            self.values, self.computed = self.computed, ""
            call = f"representable({self.values}, {self._dtype()}, {self.mode!r})"
            self.script.line(f"{self.values} = {call}")
        if not self.values:
            decoded = f"unpack({self.storage}, {self._dtype()})"
            if self.script.variables[self.storage].size > FEW:
                return decoded
            self.values = self.script.name(f"{self.name}_values")
            self.script.line(f"{self.values} = {decoded}")
        return self.values

    def _dtype(self) -> str:
        return self.script.constant(self.dtype, self.dtype.name)


def rounded(
    script: Script, name: str, dtype: DType, rounding: RoundingState, is_exact: bool, moves: bool
) -> Variable:
    """What a rule computed, under `name`, as a tensor of `dtype`.

    `is_exact`: nothing is lost in rounding. `moves`: the rule works on words.
    """
    if isinstance(script.variables[name], np.generic):
        script.line(f"{name} = asarray({name})")  # NumPy makes a scalar where there are no axes
    computed = script.variables[name]
    if moves or computed.dtype == dtype.storage:
        return Variable(script, name, dtype, storage=name)
    mode = rounding.mode(dtype) if dtype.is_float else ""
    if dtype.is_float and computed.dtype == np.float32 and 0 < computed.size <= FEW:
        if is_exact:
            return Variable(script, name, dtype, values=name)
        return Variable(script, name, dtype, mode, computed=name)
    script.line(f"{name} = pack({name}, {script.constant(dtype, dtype.name)}, {mode!r})")
    return Variable(script, name, dtype, storage=name)


def shown(script: Script, x: Any, view: Any) -> str:
    """An operand, a variable or a number, as a rule sees it; `view` is the contract's."""
    if not isinstance(x, Variable):
        return script.literal(x.item() if isinstance(x, np.generic) else x)
    if view is None:
        return x.as_storage()
    if isinstance(view, partial) and view.func is unpack:
        return x.as_values(view.keywords["compute"])
    return f"{script.constant(view, 'view')}({x.as_storage()})"
