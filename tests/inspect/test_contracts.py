"""What is printed of an operation's dtypes is what the engine does."""

from __future__ import annotations

import dis
from collections.abc import Callable
from inspect import unwrap
from types import CodeType, FunctionType
from typing import Any

import pytest

import tinymp as mp
from tinymp.amp import autocast
from tinymp.autograd.op import OPS
from tinymp.inspect import contract_of, trace
from tinymp.inspect.contracts import CATEGORIES


def test_a_float16_product_computes_and_accumulates_in_float32() -> None:
    contract = contract_of("matmul", mp.float16, mp.float16)
    assert contract.compute is mp.float32
    assert contract.accumulator is mp.float32
    assert contract.result is mp.float16
    assert contract.gradients == (("x", mp.float16), ("y", mp.float16))


def test_it_prints_as_lines_that_say_everything() -> None:
    assert str(contract_of("matmul", "float16", "bfloat16")) == (
        "matmul(x: float16, y: bfloat16)\n"
        "    compute      float32\n"
        "    accumulator  float32\n"
        "    result       float32\n"
        "    gradients    x: float16, y: bfloat16\n"
        "    autocast     lower: operands are cast to the lower precision"
    )


@pytest.mark.parametrize(
    ("op", "dtypes", "to", "compute", "accumulator", "result", "gradients"),
    [
        ("add", ["float16", "float32"], None, "float32", None, "float32", ["float16", "float32"]),
        ("add", ["float64", "float32"], None, "float64", None, "float64", ["float64", "float32"]),
        ("sum", ["bfloat16"], None, "float32", "float32", "bfloat16", ["bfloat16"]),
        ("linear", ["float16"] * 2, None, "float32", "float32", "float16", ["float16"] * 2),
        ("linear", ["float16"] * 3, None, "float32", "float32", "float16", ["float16"] * 3),
        ("matmul", ["float8_e4m3fn"] * 2, None, "float32", "float32", None, ["float8_e5m2"] * 2),
        ("cross_entropy", ["float16", "int64"], None, "float32", "float32", "float16", ["float16"]),
        ("gt", ["float16", "float16"], None, "float32", None, "bool", []),
        ("cast", ["float32"], "bfloat16", "float32", None, "bfloat16", ["float32"]),
        ("reshape", ["bfloat16"], None, None, None, "bfloat16", ["bfloat16"]),
        ("cat", ["float16"] * 3, None, None, None, "float16", ["float16"] * 3),
        ("exp", ["int64"], None, "float32", None, "float32", []),
    ],
)
def test_contracts(
    op: str,
    dtypes: list[str],
    to: str | None,
    compute: str | None,
    accumulator: str | None,
    result: str | None,
    gradients: list[str],
) -> None:
    contract = contract_of(op, *dtypes, to=to)
    assert [d.name for _, d in contract.operands if isinstance(d, mp.DType)] == dtypes
    assert (contract.compute and contract.compute.name) == compute
    assert (contract.accumulator and contract.accumulator.name) == accumulator
    assert result is None or contract.result.name == result
    assert [d.name for _, d in contract.gradients] == gradients


def test_inside_autocast_the_operands_are_shown_cast_and_no_observer_hears_of_it() -> None:
    with trace() as run, autocast(mp.bfloat16):
        product = contract_of("linear", mp.float32, mp.float32, mp.float32)
        exponential = contract_of("exp", mp.float16)
    assert [d for _, d in product.operands] == [mp.bfloat16] * 3
    assert product.result is mp.bfloat16
    assert exponential.operands == (("x", mp.float16),)
    assert exponential.result is mp.float32
    assert run.events == []


def test_every_operation_has_a_contract_that_prints() -> None:
    for name, op in OPS.items():
        operands = [
            mp.int64 if x in ("labels", "index", "tokens") else mp.float32 for x in op.inputs
        ]
        operands = [
            mp.bool if x in ("condition", "keep") else d
            for x, d in zip(op.inputs, operands, strict=True)
        ]
        to = mp.float16 if op.result == "attribute" else None
        text = str(contract_of(name, *operands, to=to))
        assert text.startswith(f"{name}(")
        assert CATEGORIES[op.autocast] in text


def _asks_of_xp(function: Callable[..., Any]) -> set[str]:
    """Names of attributes that a rule reads, and the functions of `ops` that it calls."""
    functions, names = [unwrap(function)], set()
    for f in functions:
        codes = [f.__code__]
        for code in codes:
            codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
            for step in dis.get_instructions(code):
                if step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                    names.add(step.argval)
                called = f.__globals__.get(step.argval) if step.opname == "LOAD_GLOBAL" else None
                called = unwrap(called) if callable(called) else called
                if isinstance(called, FunctionType) and called not in functions:
                    functions.append(called)
    return names


def _accumulates(rule: Callable[..., Any]) -> bool:
    return not _asks_of_xp(rule).isdisjoint({"sum", "matmul", "cumsum", "segment_sums", "spread"})


@pytest.mark.parametrize("name", list(OPS))
def test_where_an_operation_says_it_accumulates_its_rules_do(name: str) -> None:
    op = OPS[name]
    assert (op.accumulates in ("forward", "both")) == _accumulates(op.forward)
    rules = [rule.function for rule in op.gradients.values()]
    # What was expanded is summed by the dispatcher: it undoes broadcasting.
    expected = name == "expand" or any(_accumulates(rule) for rule in rules)
    assert (op.accumulates in ("backward", "both")) == expected


def test_a_contract_names_the_accumulator_in_force() -> None:
    with mp.accumulation("float16"):
        contract = contract_of("sum", mp.float32)
    assert contract.accumulator is mp.float16
    assert "accumulator  float16\n" in str(contract)
    with mp.accumulation("kahan"):
        assert "accumulator  float32: kahan\n" in str(contract_of("matmul", "float16", "float16"))
    with mp.accumulation("float64"):
        assert contract_of("mean", mp.bfloat16).accumulator is mp.float64
    with mp.accumulation("chunked", dtype="bfloat16"), trace() as run:
        x = mp.ones(8).requires_grad_()
        x.sum().backward()
        mp.linear(mp.ones(2, 3), mp.ones(4, 3).requires_grad_()).sum().backward()
    kept = {(e.contract.op, e.phase): e.contract.accumulator for e in run.events}
    assert kept["linear", "backward"] is kept["sum", "forward"] is mp.bfloat16
    assert kept["sum", "backward"] is None


def test_bad_questions_are_answered_with_advice() -> None:
    with pytest.raises(ValueError, match=r"unknown operation 'matmult'; did you mean matmul"):
        contract_of("matmult", mp.float16)
    with pytest.raises(ValueError, match=r"given 1 dtypes; give one for each operand: x, y"):
        contract_of("matmul", mp.float16)
    with pytest.raises(ValueError, match=r"operand: x, weight \[bias\]"):
        contract_of("linear", *[mp.float16] * 4)
    with pytest.raises(ValueError, match="the dtype that a cast goes to is needed"):
        contract_of("cast", mp.float16)
    with pytest.raises(ValueError, match=r"given to=float16; .* only there"):
        contract_of("exp", mp.float16, to="float16")
    with pytest.raises(TypeError, match="8-bit floats enter casts"):
        contract_of("add", mp.float8_e5m2, mp.float8_e5m2)
