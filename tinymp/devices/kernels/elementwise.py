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
from math import prod
from typing import Any

import numpy as np

from tinymp.devices.base import Array
from tinymp.devices.kernels.compiler import kernel
from tinymp.devices.kernels.tracing import HELPERS, Recorder, Symbol, Untraceable
from tinymp.devices.kernels.twin import Target
from tinymp.devices.kernels.words import declarations

_THREADS = 256
_VECTOR = 8
_LARGEST = 2**31 - 1  # elements that 32-bit indices count

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
    Vector<%(out_type)s, %(vector)d> result;
    #pragma unroll
    for (int i = 0; i < %(vector)d; ++i) {
        %(statements)s
        result.item[i] = %(encoded)s;
    }
    *reinterpret_cast<Vector<%(out_type)s, %(vector)d> *>(out + first) = result;
}
"""


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
        shape, layout = _layout(lie, shape)
        out = cupy.empty(shape, self.target.dtype.storage)
        if out.size == 0:
            return out
        random = () if self.target.mode != "stochastic" else _random_words(out)
        key = (layout.axes, layout.vector, cupy.cuda.runtime.getDevice())
        compiled = self._functions.get(key)
        if compiled is None:
            source = self.source(layout.axes, layout.vector)
            compiled = self._functions[key] = kernel(self.name, source)
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
        parameters += ["const uint32 *__restrict__ random"] if stochastic else []
        parameters += [f"const {t} *__restrict__ p{k}" for k, t in enumerate(types)]
        parameters += [f"double {name}" for name in self._numbers]
        parameters += ["int count", *[f"int length{axis}" for axis in range(1, axes)]]
        parameters += [f"int stride{k}_{axis}" for k in range(len(types)) for axis in range(axes)]
        return _SOURCE % {
            "declarations": declarations(*narrow),
            "helpers": HELPERS,
            "name": self.name,
            "parameters": ", ".join(parameters),
            "vector": vector,
            "offsets": _offsets(len(types), axes),
            "loads": "\n    ".join(
                f"const Vector<{t}, {vector}> x{k} = "
                f"load<{t}, {vector}>(p{k} + offset{k}, stride{k}_{axes - 1});"
                for k, t in enumerate(types)
            ),
            "out_type": out_type,
            "statements": "\n        ".join([*self._loads, *self._statements]),
            "encoded": self._encoded(stochastic),
        }

    def _encoded(self, stochastic: bool) -> str:
        if self.target.dtype.kind != "float":
            return self._result.name
        random = ", random[first + i]" if stochastic else ""
        return f"encode<{self.target.dtype.name}, {self.target.mode}>({self._result.name}{random})"


_C_KINDS = {"bool": "bool", "int64": "long long", "float": "float"}


def _c_type(form: Any) -> str:
    if isinstance(form, np.dtype):
        return {"b": "bool", "i": "long long", "f": "float"}[form.kind]
    if form.kind != "float":
        return _C_KINDS["bool" if form.kind == "bool" else "int64"]
    return "float" if form.name == "float32" else f"uint{8 * form.itemsize}"


def _offsets(operands: int, axes: int) -> str:
    """Statements that turn the index of an element into the offset of each operand."""
    lines = []
    for axis in range(axes - 1, 0, -1):
        lines += [f"const int i{axis} = rest % length{axis};", f"rest /= length{axis};"]
    lines.append("const int i0 = rest;")
    for k in range(operands):
        terms = [f"(long long)i{axis} * stride{k}_{axis}" for axis in range(axes)]
        lines.append(f"const long long offset{k} = {' + '.join(terms)};")
    return "\n    ".join(lines)


@dataclass(frozen=True)
class Layout:
    """How the operands lie: number of axes, elements a thread, and the kernel's last arguments."""

    axes: int
    vector: int
    arguments: tuple[Any, ...]


@cache
def _layout(
    operands: tuple[tuple[tuple[int, ...], tuple[int, ...], int, bool], ...],
    wanted: tuple[int, ...],
) -> tuple[tuple[int, ...], Layout]:
    """Shape of the result, and the fewest axes in which all operands have even strides."""
    shape = np.broadcast_shapes(wanted, *[shape for shape, *_ in operands])
    count = prod(shape)
    if count > _LARGEST:
        raise Untraceable(f"{count} elements")
    # Every operand's stride along every axis of the result, in elements.
    strides = []
    for own, steps, itemsize, _ in operands:
        missing = len(shape) - len(own)
        even = [s // itemsize if n > 1 else 0 for n, s in zip(own, steps, strict=True)]
        strides.append([0] * missing + even)
    axes = [i for i, n in enumerate(shape) if n != 1]
    lengths: list[int] = []
    merged: list[list[int]] = [[] for _ in operands]
    for i in axes:
        joins = lengths and all(
            m[-1] == s[i] * shape[i] for m, s in zip(merged, strides, strict=True)
        )
        if joins:
            lengths[-1] *= shape[i]
            for m, s in zip(merged, strides, strict=True):
                m[-1] = s[i]
        else:
            lengths.append(shape[i])
            for m, s in zip(merged, strides, strict=True):
                m.append(s[i])
    if not lengths:
        lengths, merged = [1], [[0] for _ in operands]
    vector = _VECTOR if _allows_vectors(lengths, merged, operands) else 1
    flat = [np.int32(stride) for own in merged for stride in own]
    arguments = (np.int32(count), *[np.int32(n) for n in lengths[1:]], *flat)
    return shape, Layout(len(lengths), vector, arguments)


def _allows_vectors(
    lengths: list[int], strides: list[list[int]], operands: Sequence[tuple[Any, ...]]
) -> bool:
    if lengths[-1] % _VECTOR:
        return False
    for own, (_, _, _, aligned) in zip(strides, operands, strict=True):
        if own[-1] == 1 and not (aligned and all(step % _VECTOR == 0 for step in own[:-1])):
            return False
        if own[-1] not in (0, 1):
            return False
    return True


def _random_words(out: Array) -> tuple[Array]:
    from tinymp.devices.lookup import device_of
    from tinymp.devices.random import random_words

    return (random_words(device_of(out), out.size),)


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
