"""In which settings do policies part ways, and why there? What `tinymp compare` runs by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tinymp.amp.policy import POLICIES, get_policy
from tinymp.train.configuration import Configuration


@dataclass(frozen=True)
class Setting:
    """Where a comparison takes place.

    Attributes:
        configuration: of every run, but for policy and seed.
        policies: those to compare.
        seeds: number of seeds.
        why: what in this setting makes the formats differ, for people.
    """

    configuration: Configuration
    policies: tuple[str, ...]
    seeds: int
    why: str


# All 1,438 training images are one batch: an image's share of the loss is 2^-12 / 1438 = 2^-22.5.
_DIGITS = Configuration(
    data="digits", epochs=600, batch_size=1438, lr=1e-3, hidden=(32,), loss_weight=2.0**-12
)
_SPELLING = Configuration(data="spelling", epochs=1, batch_size=32, lr=5e-3, loss_weight=2.0**-12)

_WHY_DIGITS = (
    "Every step takes the mean over all 1,438 images, and this loss has the weight 2^-12, as one "
    "term among others may have: an image counts as much as a token in a batch of 6 million. "
    "AdamW divides by the size of the gradients, so in float32 the weight changes nothing; but "
    "float16 gradients below 2^-25 become zero, unless the loss is scaled. And a step changes a "
    "weight by about the learning rate, 10^-3 or so and falling: a bfloat16 weight of 0.1 has its "
    "neighbours at a distance of 2^-11, and an update below half of that is lost or, truncated, "
    "may become a whole step toward zero."
)
_WHY_SPELLING = (
    "A GPT. The loss is the mean over 800 letters or more, and has the weight 2^-12, as one term "
    "among others may have. AdamW divides by the size of the gradients, so in float32 the weight "
    "changes nothing; but float16 gradients below 2^-25 become zero, unless the loss is scaled. "
    "And weights of 2 bytes without masters lose the updates that are small beside them."
)

_SPELLING_POLICIES = (
    "fp32",
    "fp16",
    "fp16-unscaled",
    "fp16-naive",
    "bf16",
    "bf16-naive",
    "bf16-naive-nearest",
    "bf16-naive-stochastic",
)

SETTINGS = {
    "digits": Setting(_DIGITS, tuple(POLICIES), 5, _WHY_DIGITS),
    "spelling": Setting(_SPELLING, _SPELLING_POLICIES, 3, _WHY_SPELLING),
}


def fast(setting: Setting) -> Setting:
    """The shortest form in which the effects are still there: fewer policies, seeds and epochs."""
    quick: dict[str, Any] = {"digits": {"epochs": 200, "lr": 3e-3}, "spelling": {"batch_size": 128}}
    return replace(
        setting,
        configuration=replace(setting.configuration, **quick[setting.configuration.data]),
        policies=("fp32", "fp16", "fp16-unscaled", "bf16", "bf16-naive"),
        seeds=2,
    )


def get_setting(data: str) -> Setting:
    """The setting for a task.

    Raises:
        ValueError: there is none for it; the message lists those there are.
    """
    if data not in SETTINGS:
        raise ValueError(f"unknown data {data!r}; expected one of {', '.join(SETTINGS)}")
    return SETTINGS[data]


def configurations(
    configuration: Configuration, policies: Sequence[str], seeds: int
) -> list[Configuration]:
    """One for each policy and each seed, 0 to `seeds` - 1, policy by policy.

    Raises:
        ValueError: an unknown policy, none at all, one that is named twice, or fewer than one seed.
    """
    if not policies:
        raise ValueError(f"no policies were given; name some of {', '.join(POLICIES)}")
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1, but {seeds} was given")
    for i, name in enumerate(policies):
        get_policy(name)
        if name in policies[:i]:
            raise ValueError(f"policy {name!r} was given twice; name each once")
    return [
        replace(configuration, policy=name, seed=seed) for name in policies for seed in range(seeds)
    ]
