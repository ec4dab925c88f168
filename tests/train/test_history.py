"""A line of history is strict JSON and gives its record back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.train import EpochRecord

numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def records(draw: st.DrawFn) -> EpochRecord:
    count = draw(st.integers(1, 5))
    of_each_step: dict[str, Any] = {
        "step_losses": draw(st.lists(numbers, min_size=count, max_size=count)),
        "step_scales": draw(st.lists(numbers, min_size=count, max_size=count)),
        "step_skipped": draw(st.lists(st.booleans(), min_size=count, max_size=count)),
    }
    names = ("loss", "test_loss", "test_accuracy", "lr", "loss_scale", "seconds")
    return EpochRecord(
        epoch=draw(st.integers(1, 999)),
        skipped_steps=draw(st.integers(0, 999)),
        **{name: draw(numbers) for name in names},
        **of_each_step,
    )


@given(records())
def test_gives_back_every_bit(record: EpochRecord) -> None:
    line = record.as_line()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert EpochRecord.from_line(line) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_null(value: float) -> None:
    record = EpochRecord(
        epoch=1, loss=value, test_loss=value, test_accuracy=0.0, lr=1.0, loss_scale=1.0,
        skipped_steps=0, seconds=0.0, step_losses=[1.0, value], step_scales=[1.0] * 2,
        step_skipped=[False] * 2,
    )  # fmt: skip
    parsed = json.loads(record.as_line(), parse_constant=pytest.fail)
    assert parsed["loss"] is None
    assert parsed["step_losses"] == [1.0, None]
    assert math.isnan(EpochRecord.from_line(record.as_line()).loss)
