"""How many bytes does a training step keep?"""

from __future__ import annotations

from tinymp.autograd import no_grad
from tinymp.devices import get_rng_state, set_rng_state
from tinymp.inspect import Ledger, memory
from tinymp.train.training import Training, forward


def measure(training: Training) -> Ledger:
    """Count the bytes of a forward and a backward pass on the first batch, by kind.

    Each kind is counted when there is most of it: saved activations before backward, the model's
    gradients after it, the masters' once they have them. Both passes are those of training, but
    weights, buffers, optimizer state, random state and the model's mode stay as they are; gradients
    are dropped.
    """
    random = get_rng_state()
    model, masters, optimizer = training.model, training.masters, training.optimizer
    mode = model.training
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    model.zero_grad()
    optimizer.zero_grad()
    _, loss = forward(training, *next(training.loader.epoch(0)))
    ledger = memory(model, optimizer=optimizer, masters=masters, loss=loss)
    with training.policy.rounding_context():
        training.scaler.scale(loss).backward()
    ledger |= memory(model, optimizer=optimizer, masters=masters)
    if training.device_loop is None or training.configuration.microbatches > 1:
        masters.copy_gradients()  # a GPU's steps take the model's own, unless parts add up
    ledger |= memory(model, optimizer=optimizer, masters=masters)
    model.zero_grad()
    optimizer.zero_grad()
    with no_grad():
        for buffer, before in buffers:  # batch normalisation's running statistics moved
            buffer.copy_(before)
    model.train(mode)
    set_rng_state(random)
    return ledger
