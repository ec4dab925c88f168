"""What does a trained model write?"""

from __future__ import annotations

from tinymp.train.task import Sample
from tinymp.train.training import Training


def samples(training: Training) -> list[Sample]:
    """What the model writes, in the formats of its policy; nothing if its task is not to write.

    Weights, random state and the mode of the model stay as they are.

    Raises:
        FloatingPointError: a model whose logits are NaN or infinite.
    """
    policy = training.policy
    with policy.rounding_context(), policy.autocast_context():
        return training.task.samples(training.model)
