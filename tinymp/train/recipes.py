"""Settings that are known to work: for each data set and each model that can learn it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinymp.train.configuration import MODELS, Configuration

#: Where the settings that suit a data set and a model differ from the configuration's defaults.
#: Each was chosen so that training takes about a minute on one core, and reaches in FP16 and BF16
#: what it reaches in FP32; but gpt2-shape, which is for a GPU, and learns nothing.
RECIPES: dict[tuple[str, str], dict[str, Any]] = {
    ("digits", "mlp"): {},
    ("digits", "convnet"): {"epochs": 8, "hidden": (16, 32)},
    ("spelling", "gpt"): {"epochs": 6},
    ("text", "gpt"): {"epochs": 10, "lr": 0.003},
    # GPT-2 small (Radford et al., 2019, table 2); its vocabulary, 50257, filled up to a multiple of
    # 128, which tensor cores like. An epoch is a step there.
    ("gpt2-shape", "gpt"): {
        "epochs": 33,
        "batch_size": 8,
        "lr": 6e-4,
        "width": 768,
        "layers": 12,
        "heads": 12,
        "context": 1024,
    },
}

# Settings that only some models or data have; all others serve everywhere.
_OWNERS = {
    "hidden": ("mlp", "convnet"),
    "width": ("gpt",),
    "layers": ("gpt",),
    "heads": ("gpt",),
    "dropout": ("gpt",),
    "context": ("text", "gpt2-shape"),
    "vocabulary": ("gpt2-shape",),
    "tokenizer": ("text",),
    "text": ("text",),
    "text_sha256": ("text",),
}


def recipe(given: Mapping[str, Any]) -> Configuration:
    """The settings that were given, and those that are known to work for the others.

    Raises:
        ValueError: an unknown data set, a model that cannot learn it, a setting that would change
            nothing, or a value out of range.
    """
    configuration = Configuration(**given)
    data, model = configuration.data, configuration.model
    for name in given:
        owners = _OWNERS.get(name, (data,))
        if data not in owners and model not in owners:
            raise ValueError(
                f"{name} was given, but {data} learned by model {model} has no such setting; it "
                f"belongs to {' and '.join(owners)}: leave it out"
            )
    return Configuration(**{**RECIPES[data, model], **given})


def defaults(name: str) -> str:
    """The values of a setting that is not given, for people: "30; convnet 8; text 10"."""
    general = getattr(Configuration, name)
    differing = {
        (model if len(MODELS[data]) > 1 else data): settings[name]
        for (data, model), settings in RECIPES.items()
        if settings.get(name, general) != general
    }
    return "; ".join([_shown(general), *(f"{who} {_shown(x)}" for who, x in differing.items())])


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
