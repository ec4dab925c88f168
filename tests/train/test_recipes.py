"""Recipes: what holds where nothing else is said, and settings that would change nothing."""

from __future__ import annotations

import pytest

from tinymp.train import RECIPES, TASKS, Configuration, recipe
from tinymp.train.configuration import MODELS
from tinymp.train.recipes import defaults


def test_there_is_a_recipe_for_every_task_and_model() -> None:
    assert set(MODELS) == set(TASKS)
    assert set(RECIPES) == {(data, model) for data in MODELS for model in MODELS[data]}


def test_what_is_given_goes_before_the_recipe_and_the_recipe_before_the_defaults() -> None:
    configuration = recipe({"data": "text", "epochs": 3})
    assert configuration == Configuration(data="text", model="gpt", epochs=3, lr=0.003)
    assert recipe({}) == Configuration()
    assert recipe({"model": "convnet"}).hidden == (16, 32)
    assert recipe({"model": "convnet", "hidden": (8,)}).hidden == (8,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "mnist"}, "unknown data 'mnist'; expected one of digits, spelling, text"),
        ({"model": "gpt"}, "digits cannot be learned by model 'gpt'; expected one of mlp, convnet"),
        ({"data": "spelling", "model": "mlp"}, "spelling cannot be .*'mlp'; expected one of gpt"),
        ({"width": 8}, "width was given, but digits learned by model mlp has no such setting; it "
                       "belongs to gpt: leave it out"),
        ({"data": "spelling", "hidden": (8,)}, "hidden was given, .* belongs to mlp and convnet"),
        ({"data": "spelling", "context": 8}, "context was given, .* it belongs to text"),
        ({"data": "text", "tokenizer": "words"}, "unknown tokenizer 'words'; expected one of "
                                                 "characters, bytes"),
        ({"data": "text", "dropout": 1.0}, "dropout must be a share, from 0 to below 1, but 1.0"),
        ({"data": "text", "heads": 0}, "heads must be at least 1, but 0 was given"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(given)


def test_defaults_are_shown_with_their_exceptions() -> None:
    assert defaults("epochs") == "30; convnet 8; spelling 6; text 10; gpt2-shape 33"
    assert defaults("hidden") == "128,64; convnet 16,32"
    assert defaults("batch_size") == "32; gpt2-shape 8"
    assert defaults("seed") == "0"
