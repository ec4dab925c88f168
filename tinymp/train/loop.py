"""The training loop, and in it the order of a mixed-precision step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import Any

from tinymp.autograd import Tensor, no_grad
from tinymp.data import DataLoader
from tinymp.optim import Optimizer
from tinymp.optim.clipping import clip_grad_norm_
from tinymp.train.history import EpochRecord
from tinymp.train.run_folder import RunFolder
from tinymp.train.step import StepRecord, microbatches
from tinymp.train.training import Training, forward


def train_step(
    training: Training,
    inputs: Tensor,
    targets: Tensor,
    watch_update: Callable[[Optimizer], AbstractContextManager[Any]] = nullcontext,
) -> StepRecord:
    """Train on one batch: inputs (n, ...) and targets (n, ...), on the model's device.

    `watch_update`, such as `inspect.UpdateWatch().step`, makes the context in which the optimizer
    takes its step.

    Every policy takes the same steps: where it has no masters, or no loss scale, their lines do
    nothing. The order matters, and each other order is a known mistake. Source: Micikevicius et
    al., Mixed Precision Training (ICLR 2018, arXiv 1710.03740), section 3.
    """
    masters, optimizer, scaler = training.masters, training.optimizer, training.scaler
    scale = scaler.get_scale()
    mean_loss = 0.0

    optimizer.zero_grad()
    with training.policy.rounding_context():
        for x, y, share in microbatches(inputs, targets, training.configuration.microbatches):
            weight = share * training.configuration.loss_weight
            if training.captured is None:
                loss = training.loss_of(x, y)
                # 1. Backward on the scaled loss: small gradients survive in 2 bytes.
                scaler.scale(loss * weight).backward()
                # 2. The gradients go to the float32 masters, where those of microbatches add up.
                masters.copy_gradients(accumulate=True)
            else:  # the same, as it was written down
                loss = training.captured(x, y, weight=weight)
            mean_loss += loss.item() * share
        # 3. Divide them by the scale, in float32, and look for inf and NaN.
        scaler.unscale_(optimizer)
        # 4. Clip: only now is their norm the true one.
        clip_grad_norm_(masters.parameters(), training.configuration.clip)
        # 5. Take the step, unless an inf or a NaN was found: then it is skipped.
        with watch_update(optimizer):
            scaler.step(optimizer)
        # 6. After a skipped step the scale falls; after many clean ones it grows.
        scaler.update()
        skipped = scaler.is_enabled() and scaler.trace[-1].found_inf
        # 7. Copy the masters back into the model, rounded. A skipped step changes neither the
        #    model nor the learning rate.
        if not skipped:
            masters.copy_weights()
            training.schedule.step()
    return StepRecord(mean_loss, scale, skipped)


def train_epoch(training: Training, on_step: Callable[[StepRecord | None], None]) -> EpochRecord:
    """Train on every batch once, test, and count the epoch as complete.

    On a GPU the steps are those of a `DeviceLoop` where it serves; `on_step` then gets None for a
    record that is still in the GPU's memory.
    """
    started = perf_counter()
    steps: list[StepRecord] = []
    training.model.train()
    loop = training.device_loop
    for inputs, targets in training.loader.epoch(training.epoch):
        if loop is not None:
            loop.step(inputs, targets)
        else:
            steps.append(train_step(training, inputs, targets))
        on_step(None if loop is not None else steps[-1])
    if loop is not None:
        steps = loop.finish()
    training.skipped_steps += sum(step.skipped for step in steps)
    test_loss, test_accuracy = evaluate(training)
    training.epoch += 1
    return EpochRecord(
        epoch=training.epoch,
        loss=sum(step.loss for step in steps) / len(steps),
        test_loss=test_loss,
        test_accuracy=test_accuracy,
        lr=training.schedule.get_last_lr()[0],
        loss_scale=training.scaler.get_scale(),
        skipped_steps=training.skipped_steps,
        seconds=perf_counter() - started,
        step_losses=[step.loss for step in steps],
        step_scales=[step.scale for step in steps],
        step_skipped=[step.skipped for step in steps],
    )


def evaluate(training: Training) -> tuple[float, float]:
    """Mean loss over the test set, and the share of it that the model gets right."""
    task, device = training.task, training.configuration.device
    total_loss = correct = 0.0
    training.model.eval()
    with no_grad():
        for inputs, targets in DataLoader(task.test, batch_size=256, device=device).epoch(0):
            outputs, loss = forward(training, inputs, targets)
            total_loss += loss.item() * len(targets)
            correct += task.correct(outputs, targets)
    return total_loss / len(task.test), correct / len(task.test)


def fit(
    training: Training,
    folder: RunFolder,
    on_step: Callable[[StepRecord | None], None] = lambda step: None,
    on_epoch: Callable[[EpochRecord], None] = lambda epoch: None,
) -> None:
    """Train the epochs that are left; after each, write a line of history and the checkpoint.

    The line comes first. A process that dies between the two leaves a line too many, which resuming
    cuts off; the other way round an epoch's line would be lost.
    """
    while training.epoch < training.configuration.epochs:
        record = train_epoch(training, on_step)
        folder.append(record)
        folder.save(training.configuration, training.state())
        on_epoch(record)
