"""Elementwise rules as kernels: one read of every operand, one write of the result.

A kernel is made from the NumPy rule (`tracing`), the formats of its operands, and the format and
rounding mode of its result. Operands broadcast as NumPy's do: each has a stride per axis, 0 where
it is repeated. Axes that lie evenly in memory for all operands are taken as one, so most calls have
one axis, a bias two.

    traffic     every operand once, the result once
    a thread    8 neighbouring elements of the last axis, by loads and stores of up to 16 bytes; or
                a single one where the layout does not allow that
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tinymp.devices.base import Array
from tinymp.devices.kernels.broadcasting import VECTOR, layout_of, offsets
from tinymp.devices.kernels.compiler import kernel
from tinymp.devices.kernels.philox import PARAMETERS, PHILOX, stream_arguments
from tinymp.devices.kernels.pieces import PIECES
from tinymp.devices.kernels.tracing import HELPERS, Recorder, Symbol, Untraceable
from tinymp.devices.kernels.twin import Target
from tinymp.devices.kernels.words import declarations

_THREADS = 256

_SOURCE = r"""
%(declarations)s
%(helpers)s
template <class T, int n> struct alignas(sizeof(T) * n < 16 ? sizeof(T) * n : 16) Vector {
    T item[n];
};

// `size` elements from `p` on, or one element repeated where the stride is 0.
template <class T, int size> __device__ __forceinline__
Vector<T, size> load(const T *p, int stride) {
    if (size == 1 || stride) return *reinterpret_cast<const Vector<T, size> *>(p);
    Vector<T, size> repeated;
    for (int i = 0; i < size; ++i) repeated.item[i] = *p;
    return repeated;
}

extern "C" __global__ void __launch_bounds__(256) %(name)s(%(parameters)s) {
    const int first = (blockIdx.x * 256 + threadIdx.x) * %(vector)d;
    if (first >= count) return;
    int rest = first;
    %(offsets)s
    %(loads)s
    %(drawing)s
    %(result)s;
    #pragma unroll
    for (int i = 0; i < %(vector)d; ++i) {
        %(statements)s
        %(element)s;
    }
    %(write)s;
}
"""


# Random words, by elements a thread: 8 are a block of the stream and drawn here, one is read.
_DRAWING = {
    VECTOR: (
        PARAMETERS,
        "uint32 random[8]; philox(first / 8, {seed, second_0, second_2, second_3}, random);",
    ),
    1: ("const uint32 *__restrict__ words", "const uint32 random[1] = {words[first]};"),
}


@dataclass(frozen=True)
class Baked:
    """An argument of a rule that becomes part of the kernel: None, a name, an axis, a shape."""

    value: Any


class ElementwiseKernel:
    """A rule as a kernel, for operands and a result of given formats."""

    def __init__(
        self,
        name: str,
        rule: Callable[..., Any],
        forms: Sequence[Any],
        named: Sequence[tuple[str, Any]],
        target: Target,
    ) -> None:
        """`forms` of the arguments and `named` ones: a DType for an array of values, a NumPy type
        for one that passes undecoded, `float` for a number, or a Baked value.

        Raises:
            Untraceable: the rule needs more than one element.
        """
        if any(getattr(form, "name", "") == "float64" for form in (*forms, target.dtype)):
            raise Untraceable("float64")
        self.name = f"{name}_kernel"
        self.target = target
        recorder = Recorder()
        self.formats: list[Any] = []
        self._loads: list[str] = []
        self._numbers: list[str] = []
        arguments = [self._argument(recorder, form) for form in forms]
        options = {key: self._argument(recorder, form) for key, form in named}
        result = rule(recorder, *arguments, **options)
        if not isinstance(result, Symbol | bool | int | float):
            raise Untraceable(f"a result of type {type(result).__name__}")
        is_operand = [result is argument for argument in arguments]
        #: The argument that the rule returns as it is, None if it computes.
        self.identity = is_operand.index(True) if any(is_operand) else None
        kind = {"bool": "bool", "int": "int64"}.get(target.dtype.kind, "float")
        self._result = recorder.converted(result, kind)
        self._statements = recorder.statements
        #: Whether the kernel may contract: a rule with inexact functions has no bits to keep.
        self.contracted = not recorder.exact
        self._functions: dict[Any, Any] = {}

    def _argument(self, recorder: Recorder, form: Any) -> Any:
        """What the rule gets for an argument; the statement that loads it is written down."""
        if isinstance(form, Baked):
            return form.value
        if form is float:
            symbol = recorder.new("double")
            self._numbers.append(symbol.name)
            return symbol
        element = f"x{len(self.formats)}.item[i]"
        self.formats.append(form)
        if isinstance(form, np.dtype) and form != np.float32:
            kind = {"b": "bool", "i": "int64"}.get(form.kind)
            if kind is None:
                raise Untraceable(f"an operand of {form}")
        else:
            kind = "float"
            is_narrow = not isinstance(form, np.dtype) and form.kind == "float"
            element = f"decode<{form.name}>({element})" if is_narrow else f"(float){element}"
        symbol = recorder.new(kind)
        self._loads.append(f"const {_C_KINDS[kind]} {symbol.name} = {element};")
        return symbol

    def __call__(
        self, arrays: Sequence[Array], numbers: Sequence[float] = (), shape: Any = ()
    ) -> Array:
        """The result for CuPy arrays of the formats in order, and numbers in the order of use.

        `shape`: one to which the result is broadcast beyond the operands' own.
        """
        import cupy

        lie = tuple([(a.shape, a.strides, a.itemsize, a.data.ptr % 16 == 0) for a in arrays])
        shape, layout = layout_of(lie, shape)
        out = cupy.empty(shape, self.target.dtype.storage)
        if out.size == 0:
            return out
        random = () if self.target.mode != "stochastic" else _random(out, layout.vector)
        key = (layout.axes, layout.vector, cupy.cuda.runtime.getDevice())
        compiled = self._functions.get(key)
        if compiled is None:
            source = self.source(layout.axes, layout.vector)
            compiled = kernel(self.name, source, contracted=self.contracted)
            self._functions[key] = compiled
        blocks = -(-out.size // (_THREADS * layout.vector))
        values = [np.float64(number) for number in numbers]
        compiled((blocks,), (_THREADS,), (out, *random, *arrays, *values, *layout.arguments))
        return out

    def source(self, axes: int, vector: int) -> str:
        """The kernel for arrays of so many (collapsed) axes and elements a thread."""
        narrow = [f for f in (*self.formats, self.target.dtype) if not isinstance(f, np.dtype)]
        narrow = [f for f in narrow if f.kind == "float"]
        types = [_c_type(f) for f in self.formats]
        out_type = _c_type(self.target.dtype)
        stochastic = self.target.mode == "stochastic"
        parameters = [f"{out_type} *__restrict__ out"]
        random, drawing = _DRAWING[vector] if stochastic else ("", "")
        parameters += [random] if stochastic else []
        parameters += [f"const {t} *__restrict__ p{k}" for k, t in enumerate(types)]
        parameters += [f"double {name}" for name in self._numbers]
        parameters += ["int count", *[f"int length{axis}" for axis in range(1, axes)]]
        parameters += [f"int stride{k}_{axis}" for k in range(len(types)) for axis in range(axes)]
        return _SOURCE % {
            "declarations": declarations(*narrow),
            "helpers": PIECES + HELPERS + (PHILOX if stochastic else ""),
            "drawing": drawing,
            "name": self.name,
            "parameters": ", ".join(parameters),
            "vector": vector,
            "offsets": offsets(len(types), axes),
            "loads": "\n    ".join(
                f"const Vector<{t}, {vector}> x{k} = "
                f"load<{t}, {vector}>(p{k} + offset{k}, stride{k}_{axes - 1});"
                for k, t in enumerate(types)
            ),
            "statements": "\n        ".join([*self._loads, *self._statements]),
            **self._writing(f"Vector<{out_type}, {vector}>", vector),
        }

    def _writing(self, type_: str, vector: int) -> dict[str, str]:
        """Statements that declare the result of a thread, set element i, and write it."""
        value, rounding = self._result.name, f"{self.target.dtype.name}, {self.target.mode}"
        if self.target.dtype.kind == "float" and self.target.mode != "stochastic":
            return {
                "result": f"float result[{vector}]",
                "element": f"result[i] = {value}",
                "write": f"write<{rounding}>(out + first, result)",
            }
        if self.target.dtype.kind == "float":
            value = f"encode<{rounding}>({value}, random[i])"
        return {
            "result": f"{type_} result",
            "element": f"result.item[i] = {value}",
            "write": f"*reinterpret_cast<{type_} *>(out + first) = result",
        }


_C_KINDS = {"bool": "bool", "int64": "long long", "float": "float"}


def _c_type(form: Any) -> str:
    if isinstance(form, np.dtype):
        return {"b": "bool", "i": "long long", "f": "float"}[form.kind]
    if form.kind != "float":
        return _C_KINDS["bool" if form.kind == "bool" else "int64"]
    return "float" if form.name == "float32" else f"uint{8 * form.itemsize}"


def _random(out: Array, vector: int) -> tuple[Any, ...]:
    """What a kernel that rounds stochastically gets in place of random words, or the words."""
    from tinymp.devices.lookup import device_of
    from tinymp.devices.random import default_generator

    if vector == 1:
        return (default_generator().words(device_of(out), out.size),)
    return stream_arguments(default_generator().seed, default_generator().next_draw())


@cache
def elementwise_kernel(
    name: str,
    rule: Callable[..., Any],
    forms: tuple[Any, ...],
    named: tuple[tuple[str, Any], ...],
    target: Target,
) -> ElementwiseKernel | None:
    """The kernel of a rule, made once; None for a rule that cannot be traced."""
    try:
        return ElementwiseKernel(name, rule, forms, named, target)
    except (Untraceable, AttributeError, TypeError, IndexError, ValueError):
        return None
