from __future__ import annotations

import contextvars
import sys
import threading

import pytest

from tinymp.formats import (
    active_rounding,
    bfloat16,
    float8_e5m2,
    float16,
    float32,
    int64,
    rounding,
    set_rounding,
    using_rounding,
)


@pytest.fixture(autouse=True)
def _restore_the_process_default(monkeypatch):
    module = sys.modules["tinymp.formats.rounding"]  # the package's `rounding` is the function
    monkeypatch.setattr(module, "_process_default", list(module._process_default))


def modes(*dtypes):
    state = active_rounding()
    return [state.mode(dtype) for dtype in dtypes]


def test_each_format_has_its_default():
    expected = ["nearest_even", "nearest_even", "toward_zero", "nearest_even"]
    assert modes(float32, float16, bfloat16, float8_e5m2) == expected


def test_all_formats_below_float32_are_meant_unless_one_is_named():
    with rounding("stochastic"):
        assert modes(float32, float16, bfloat16) == ["nearest_even", "stochastic", "stochastic"]
    with rounding("nearest_even", bfloat16):
        assert modes(float16, bfloat16) == ["nearest_even", "nearest_even"]
    with rounding("toward_zero", "float32"):
        assert modes(float32, float16) == ["toward_zero", "nearest_even"]
    assert modes(float16, bfloat16) == ["nearest_even", "toward_zero"]


def test_the_innermost_choice_wins():
    with rounding("stochastic"):
        with rounding("toward_zero", float16):
            assert modes(float16, bfloat16) == ["toward_zero", "stochastic"]
            with rounding("nearest_even"):
                assert modes(float16, bfloat16) == ["nearest_even", "nearest_even"]
            assert modes(float16, bfloat16) == ["toward_zero", "stochastic"]
        assert modes(float16) == ["stochastic"]


def test_a_choice_for_all_leaves_float32_as_it_was_named():
    with rounding("toward_zero", float32), rounding("stochastic"):
        assert modes(float32, float16) == ["toward_zero", "stochastic"]


def test_a_block_may_be_entered_again_inside_itself_and_decorate_a_function():
    stochastic = rounding("stochastic")
    with stochastic, rounding("toward_zero"):
        with stochastic:
            assert modes(float16) == ["stochastic"]
        assert modes(float16) == ["toward_zero"]
    assert stochastic(modes)(float16) == ["stochastic"]
    assert modes(float16) == ["nearest_even"]


def test_an_error_inside_the_block_ends_it():
    with pytest.raises(KeyError), rounding("stochastic"):
        raise KeyError
    assert modes(float16) == ["nearest_even"]


def test_a_state_can_be_kept_and_used_again():
    with rounding("stochastic") as state:
        assert state is active_rounding()
    with rounding("toward_zero"):
        assert state.mode(float16) == "stochastic"
        with using_rounding(state):
            assert modes(float16) == ["stochastic"]
        assert modes(float16) == ["toward_zero"]


def test_the_process_default_holds_in_every_thread_and_contexts_in_their_own():
    set_rounding("nearest_even", bfloat16)
    seen = []
    with rounding("stochastic"):
        thread = threading.Thread(target=lambda: seen.extend(modes(bfloat16, float16)))
        thread.start()
        thread.join()
        assert modes(bfloat16) == ["stochastic"]
    assert seen == ["nearest_even", "nearest_even"]
    set_rounding("toward_zero")
    assert modes(bfloat16, float16) == ["toward_zero", "toward_zero"]


def test_tasks_do_not_disturb_each_other():
    def enter():
        manager = rounding("stochastic")
        manager.__enter__()
        return modes(float16)

    assert contextvars.copy_context().run(enter) == ["stochastic"]
    assert modes(float16) == ["nearest_even"]


@pytest.mark.parametrize("choose", [lambda *a: rounding(*a).__enter__(), set_rounding])
def test_bad_choices_say_what_is_expected(choose):
    with pytest.raises(
        ValueError, match=r"unknown rounding mode 'nearest'; expected one of toward_zero, nearest_e"
    ):
        choose("nearest")
    with pytest.raises(TypeError, match=r"rounding applies to floating-point formats, and int64"):
        choose("nearest_even", int64)
    with pytest.raises(TypeError, match=r"unknown dtype 'fp16'; expected one of float64"):
        choose("nearest_even", "fp16")
