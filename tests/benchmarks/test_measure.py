"""Measuring: turns, ratios and fits. No test judges a time."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinymp.bench import Contestant, Race, Result, Timing, run_race
from tinymp.bench.scaling import fit
from tinymp.bench.suite import GROUPS, check_names


def test_contestants_take_turns():
    order = []
    names = ("a", "b", "c")
    race = Race("r", "a", lambda: [Contestant(n, lambda n=n: order.append(n)) for n in names])
    result = run_race(race, rounds=3, turn=1e-5)
    assert [len(result.timings[n].clock) for n in names] == [3, 3, 3]
    turns = [n for i, n in enumerate(order) if i == 0 or order[i - 1] != n]
    assert turns == list("abc" * 4)  # one to find out how many calls make a turn


def test_ratios_are_formed_within_a_round():
    # The machine slowed down tenfold in the second round, for both.
    timings = {"a": Timing([1.0, 10.0, 1.0], [0.0] * 3), "b": Timing([2.0, 20.0, 2.0], [0.0] * 3)}
    result = Result(Race("r", "a", list), timings)
    assert result.ratio("b") == (2.0, 2.0, 2.0)
    assert Result(Race("r", "a", list, speed=True), timings).ratio("b") == (0.5, 0.5, 0.5)
    assert Result(Race("r", "missing", list), timings).ratio("b") is None
    assert json.loads(json.dumps(result.as_json()))["contestants"]["b"]["fastest"] == 2.0


def test_no_round_is_refused():
    with pytest.raises(ValueError, match="at least one round, but 0 was given"):
        run_race(Race("r", "a", list), rounds=0)


def test_a_line_is_found_again():
    x = [1, 2, 4, 8]
    line = fit("layers", x, [3.0 + 0.5 * n for n in x])
    np.testing.assert_allclose([line.constant, line.slope], [3.0, 0.5])
    assert line.residual < 1e-12
    bent = fit("layers", x, [n**2.0 for n in x])
    assert bent.residual > 0.3
    json.dumps(bent.as_json())


def test_groups_have_names():
    assert check_names([]) == [*GROUPS, "scaling"]
    assert check_names(["mlp"]) == ["mlp"]
    with pytest.raises(ValueError, match="unknown group 'mpl'; expected one of mlp, gpt"):
        check_names(["mpl"])


@pytest.mark.parametrize("group", GROUPS)
def test_a_race_that_must_show_something_names_who(group):
    for race in GROUPS[group]:
        for name, (must, aim) in (race.goals or {}).items():
            assert name.startswith("tinymp")
            assert must <= aim if race.speed else must >= aim
