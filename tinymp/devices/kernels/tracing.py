"""From a NumPy rule to the body of a CUDA kernel, by running the rule on symbols.

An elementwise rule is arithmetic on arrays, written once. Called with symbols instead of arrays, it
leaves a list of statements behind, one element's computation in float32:

    lambda xp, g, out: g * (1 - out * out)      const float v2 = v1 * v1;
                                                const float v3 = 1.0f - v2;
                                                const float v4 = v0 * v3;

So every elementwise rule, forward and gradient, has a kernel that reads each operand once and
writes the result once, and there is no second copy of its mathematics to keep true. A rule that
needs more than one element (a sum, a shape) raises Untraceable and runs on CuPy's arrays instead.

Types are NumPy's: "float" for float32, "bool", "int64"; a Python number is a "double" that becomes
float32 where it meets an array, so numbers among themselves compute as Python does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

_C_TYPES = {"float": "float", "bool": "bool", "int64": "long long", "double": "double"}
_NUMPY_TYPES = {"float": np.dtype(np.float32), "bool": np.dtype(bool), "int64": np.dtype(np.int64)}
_TYPES = {numpy_type: name for name, numpy_type in _NUMPY_TYPES.items()}

# NumPy's names of functions of one float, and CUDA's.
_FUNCTIONS = {
    "sqrt": "sqrtf", "cbrt": "cbrtf", "exp": "expf", "exp2": "exp2f", "expm1": "expm1f",
    "log": "logf", "log2": "log2f", "log10": "log10f", "log1p": "log1pf", "sin": "sinf",
    "cos": "cosf", "tan": "tanf", "arcsin": "asinf", "arccos": "acosf", "arctan": "atanf",
    "sinh": "sinhf", "cosh": "coshf", "tanh": "tanhf", "arcsinh": "asinhf", "arccosh": "acoshf",
    "arctanh": "atanhf", "floor": "floorf", "ceil": "ceilf", "trunc": "truncf", "rint": "rintf",
    "abs": "fabsf",
}  # fmt: skip
_EXACT = {"sqrt", "floor", "ceil", "trunc", "rint", "abs"}
# CUDA's are off by an ulp or two, as NumPy's own are, but not the same ones.
_INEXACT = {"powf", "gaussian", *(cuda for name, cuda in _FUNCTIONS.items() if name not in _EXACT)}
_QUESTIONS = {"isnan": "isnan", "isinf": "isinf", "isfinite": "isfinite", "signbit": "signbit"}
_COMPARISONS = {
    "equal": "==", "not_equal": "!=", "less": "<", "less_equal": "<=", "greater": ">",
    "greater_equal": ">=",
}  # fmt: skip


class Untraceable(TypeError):
    """The rule does something that one element alone cannot."""


class Symbol:
    """The value of one element, known by the name of a variable of the kernel."""

    __array_ufunc__ = None  # NumPy must not take it for an object

    def __init__(self, recorder: Recorder, name: str, kind: str) -> None:
        self.recorder = recorder
        self.name = name
        self.kind = kind

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of it."""
        return _NUMPY_TYPES.get(self.kind, np.dtype(np.float32))

    def astype(self, dtype: Any, copy: bool = True) -> Symbol:
        """It in another type."""
        kind = _TYPES.get(np.dtype(dtype))
        if kind is None:
            raise Untraceable(f"values of {np.dtype(dtype)}")
        return self.recorder.converted(self, kind)

    def __bool__(self) -> NoReturn:
        raise Untraceable("a decision on a value")

    def __getattr__(self, name: str) -> NoReturn:
        raise Untraceable(f"an array's {name}")

    def __iter__(self) -> NoReturn:
        raise Untraceable("iteration")

    def __add__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("+", self, other)

    def __radd__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("+", other, self)

    def __sub__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("-", self, other)

    def __rsub__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("-", other, self)

    def __mul__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("*", self, other)

    def __rmul__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("*", other, self)

    def __truediv__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("/", self, other)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self.recorder.arithmetic("/", other, self)

    def __pow__(self, other: Any) -> Symbol:
        return self * self if other == 2 else self.recorder.power(self, other)

    def __neg__(self) -> Symbol:
        return self.recorder.statement(self.kind, f"-{self.name}")

    def __abs__(self) -> Symbol:
        return self.recorder.function("fabsf", self)

    def __lt__(self, other: Any) -> Symbol:
        return self.recorder.comparison("<", self, other)

    def __le__(self, other: Any) -> Symbol:
        return self.recorder.comparison("<=", self, other)

    def __gt__(self, other: Any) -> Symbol:
        return self.recorder.comparison(">", self, other)

    def __ge__(self, other: Any) -> Symbol:
        return self.recorder.comparison(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return self.recorder.comparison("==", self, other)

    def __ne__(self, other: object) -> Any:
        return self.recorder.comparison("!=", self, other)

    def __invert__(self) -> Symbol:
        return self.recorder.logical("!", self)

    def __and__(self, other: Any) -> Symbol:
        return self.recorder.logical("&&", self, other)

    def __or__(self, other: Any) -> Symbol:
        return self.recorder.logical("||", self, other)

    def __xor__(self, other: Any) -> Symbol:
        return self.recorder.logical("!=", self, other)

    __hash__ = object.__hash__


class Number(Symbol):
    """A number that the rule itself wrote: a literal, of the type of what it meets."""

    def __init__(self, recorder: Recorder, value: float) -> None:
        word = int(np.array(value).view(np.uint64))
        super().__init__(recorder, f"__longlong_as_double(0x{word:016x}ll)", "double")
        self.value = value


def _float_literal(value: float) -> str:
    """The float32 nearest to a number, in CUDA C++."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
    if np.isfinite(rounded):
        return f"{rounded!s}f" if any(c in str(rounded) for c in ".e") else f"{rounded!s}.0f"
    return f"__uint_as_float(0x{int(rounded.view(np.uint32)):08x}u)"


class Recorder:
    """Writes down what a rule does to symbols. Given to the rule as its array module `xp`."""

    float32 = np.float32
    pi, e, inf, nan = np.pi, np.e, np.inf, np.nan

    def __init__(self) -> None:
        self.statements: list[str] = []
        #: Whether all that is called is rounded as NumPy rounds it, so that bits can be the same.
        self.exact = True
        self._count = 0

    def new(self, kind: str) -> Symbol:
        """A symbol for something that the kernel provides, such as an operand."""
        self._count += 1
        return Symbol(self, f"v{self._count - 1}", kind)

    def statement(self, kind: str, expression: str) -> Symbol:
        """A symbol for the value of an expression."""
        result = self.new(kind)
        self.statements.append(f"const {_C_TYPES[kind]} {result.name} = {expression};")
        return result

    def constant(self, value: Any, kind: str | None = None) -> Symbol:
        """A symbol for what is a symbol already, or a number."""
        if isinstance(value, Symbol):
            return value
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, bool) and kind in (None, "bool"):
            return Symbol(self, str(value).lower(), "bool")
        if not isinstance(value, bool | int | float):
            raise Untraceable(f"a {type(value).__name__}")
        return Number(self, float(value))

    def converted(self, value: Any, kind: str) -> Symbol:
        """A value as the given type."""
        symbol = self.constant(value, kind)
        if symbol.kind == kind:
            return symbol
        if isinstance(symbol, Number) and kind == "float":
            return Symbol(self, _float_literal(symbol.value), "float")
        return self.statement(kind, f"({_C_TYPES[kind]}){symbol.name}")

    def floats(self, *values: Any) -> list[Symbol]:
        """Values as floats; doubles stay if they are among themselves."""
        symbols = [self.constant(value) for value in values]
        if all(symbol.kind == "double" for symbol in symbols):
            return symbols
        if any(symbol.kind == "int64" for symbol in symbols):
            raise Untraceable("integers that are computed with")
        return [self.converted(symbol, "float") for symbol in symbols]

    def arithmetic(self, operator: str, x: Any, y: Any) -> Symbol:
        left, right = self.floats(x, y)
        return self.statement(left.kind, f"{left.name} {operator} {right.name}")

    def comparison(self, operator: str, x: Any, y: Any) -> Symbol:
        symbols = [self.constant(x), self.constant(y)]
        if "int64" in {symbol.kind for symbol in symbols}:
            left, right = (self.converted(symbol, "int64") for symbol in symbols)
        else:
            left, right = self.floats(*symbols)
        return self.statement("bool", f"{left.name} {operator} {right.name}")

    def logical(self, operator: str, *values: Any) -> Symbol:
        symbols = [self.constant(value) for value in values]
        if any(symbol.kind != "bool" for symbol in symbols):
            raise Untraceable("integers that are computed with")
        left = f"{symbols[0].name} " if len(symbols) == 2 else ""
        return self.statement("bool", f"{left}{operator} {symbols[-1].name}")

    def function(self, name: str, *values: Any, kind: str = "float") -> Symbol:
        """A call of a function of CUDA on floats."""
        symbols = [self.converted(value, "float") for value in self.floats(*values)]
        self.exact &= name not in _INEXACT
        return self.statement(kind, f"{name}({', '.join(symbol.name for symbol in symbols)})")

    def power(self, x: Any, y: Any) -> Symbol:
        return self.function("powf", x, y)

    def gaussian(self, y: Any, scale: Any) -> Symbol:
        """e^(-scale·y²) for y ≥ 0 and a `scale` that is a power of two."""
        return self.function("gaussian", y, scale)

    def square(self, x: Any) -> Symbol:
        return self.arithmetic("*", x, x)

    def maximum(self, x: Any, y: Any) -> Symbol:
        return self.function("larger", x, y)

    def minimum(self, x: Any, y: Any) -> Symbol:
        return self.function("smaller", x, y)

    def clip(self, x: Any, low: Any, high: Any) -> Symbol:
        x = x if low is None else self.maximum(x, low)
        return x if high is None else self.minimum(x, high)

    def copysign(self, x: Any, y: Any) -> Symbol:
        return self.function("copysignf", x, y)

    def sign(self, x: Any) -> Symbol:
        return self.function("sign_of", x)

    def where(self, condition: Any, x: Any, y: Any) -> Symbol:
        chosen = self.constant(condition)
        left, right = self.constant(x), self.constant(y)
        if not left.kind == right.kind == "bool":
            left, right = (self.converted(s, "float") for s in self.floats(left, right))
        return self.statement(left.kind, f"{chosen.name} ? {left.name} : {right.name}")

    def zeros_like(self, x: Any, dtype: Any = None) -> Symbol:
        return self.converted(0.0, "float")

    def ones_like(self, x: Any, dtype: Any = None) -> Symbol:
        return self.converted(1.0, "float")

    def logical_and(self, x: Any, y: Any) -> Symbol:
        return self.logical("&&", x, y)

    def logical_or(self, x: Any, y: Any) -> Symbol:
        return self.logical("||", x, y)

    def logical_not(self, x: Any) -> Symbol:
        return self.logical("!", x)

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if name in _FUNCTIONS:
            return lambda x, dtype=None: self.function(_FUNCTIONS[name], x)
        if name in _QUESTIONS:
            return lambda x: self.function(_QUESTIONS[name], x, kind="bool")
        if name in _COMPARISONS:
            return lambda x, y: self.comparison(_COMPARISONS[name], x, y)
        raise Untraceable(f"xp.{name}")


#: What the statements call beside CUDA's own functions: NumPy's maximum, minimum and sign; and
#: e^(-scale·y²), where the rounding error of y², which matters, is what fmaf gives.
HELPERS = r"""
__device__ __forceinline__ float larger(float x, float y) { return x > y || x != x ? x : y; }
__device__ __forceinline__ float smaller(float x, float y) { return x < y || x != x ? x : y; }
__device__ __forceinline__ float sign_of(float x) {
    return x != x ? x : (float)((x > 0) - (x < 0));
}
__device__ __forceinline__ float gaussian(float y, float scale) {
    y = y > 64.0f ? 64.0f : y;
    const float square = y * y, value = expf(-scale * square);
    return fmaf(value, -scale * fmaf(y, y, -square), value);
}
"""
