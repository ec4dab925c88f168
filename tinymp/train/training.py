"""Everything that training reads and changes, put together from a task and a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymp.amp.captured_backward import CapturedBackward, capture_backward
from tinymp.amp.loss_scale import DynamicLossScale
from tinymp.amp.policy import Policy, get_policy
from tinymp.autograd import Tensor
from tinymp.data import DataLoader
from tinymp.devices import get_device, get_rng_state, manual_seed, set_rng_state
from tinymp.optim.lr_scheduler import LambdaLR
from tinymp.train.checkpoint import refuse_other_model
from tinymp.train.configuration import OPTIMIZERS, Configuration
from tinymp.train.task import Task

if TYPE_CHECKING:
    from tinymp.train.device_loop import DeviceLoop


class Training:
    """A model in training: its policy, masters, optimizer, loss scaler, schedule and data.

    `loss_of(inputs, targets)` is the mean loss that training follows; `captured` finds it and its
    gradients as they were written down, if they are to be. `epoch` counts the complete epochs,
    `skipped_steps` the steps skipped so far. Making a Training seeds the default generator.

    Raises:
        ValueError: an unknown policy; the message lists those there are.
        RuntimeError: a device that is not there.
    """

    def __init__(self, task: Task, configuration: Configuration) -> None:
        device = get_device(configuration.device).name
        self.task = task
        self.configuration = configuration
        self.policy = _adapted(get_policy(configuration.policy), configuration)
        manual_seed(configuration.seed)
        self.model = self.policy.cast_model(task.model().to(device))
        self.masters = self.policy.make_masters(self.model)
        options = {"lr": configuration.lr, **self.policy.optimizer_options()}
        self.optimizer = OPTIMIZERS[configuration.optimizer](self.masters.parameters(), **options)
        self.scaler = self.policy.make_scaler()
        self.loader = DataLoader(
            task.train,
            configuration.batch_size,
            shuffle=True,
            seed=configuration.seed,
            device=device,
        )
        self.steps = configuration.epochs * len(self.loader)
        self.schedule = LambdaLR(self.optimizer, warmup_then_cosine(self.steps))
        self.loss_of: Callable[[Tensor, Tensor], Tensor] = partial(_loss_of, self)
        self.captured: CapturedBackward | None = None
        if configuration.capture and device == "cpu":
            self.captured = capture_backward(self.loss_of, self.masters, self.scaler)
        self.epoch = 0
        self.skipped_steps = 0
        self._device_loop: DeviceLoop | None = None

    @property
    def device_loop(self) -> DeviceLoop | None:
        """What makes the steps on a GPU without waiting for them; None where it does not serve."""
        from tinymp.train.device_loop import DeviceLoop

        if self._device_loop is None and DeviceLoop.serves(self) is None:
            self._device_loop = DeviceLoop(self, self.configuration.capture)
        return self._device_loop

    def state(self) -> dict[str, Any]:
        """All that the steps to come depend on, for a checkpoint."""
        return {
            "epoch": self.epoch,
            "skipped_steps": self.skipped_steps,
            "model": self.model.state_dict(),
            "masters": self.masters.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": get_rng_state(),
        }

    def load(self, state: dict[str, Any], source: Path) -> None:
        """Continue from a state read from the checkpoint `source`.

        Raises:
            CheckpointError: the state of another model. Nothing is changed then.
        """
        own = self.state()
        for part in ("model", "masters"):
            refuse_other_model(source, state[part], own[part])
        self.model.load_state_dict(state["model"])
        self.masters.load_state_dict(state["masters"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.schedule.load_state_dict(state["schedule"])
        self._device_loop = None  # its state is on the GPU, and older
        self.epoch = state["epoch"]
        self.skipped_steps = state["skipped_steps"]
        set_rng_state(tuple(state["random"]))


def forward(training: Training, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs of the model and their mean loss, in the formats that the policy chooses."""
    policy = training.policy
    with policy.rounding_context(), policy.autocast_context():
        outputs = training.model(policy.cast_input(inputs))
        with policy.loss_context():
            return outputs, training.task.loss(outputs, targets)


def _loss_of(training: Training, inputs: Tensor, targets: Tensor) -> Tensor:
    return forward(training, inputs, targets)[1]


def _adapted(policy: Policy, configuration: Configuration) -> Policy:
    """The policy with the run's growth interval, where its loss scale is a dynamic one."""
    if not isinstance(policy.scaler, DynamicLossScale):
        return policy
    scaler = replace(policy.scaler, growth_interval=configuration.growth_interval)
    return replace(policy, scaler=scaler)


def warmup_then_cosine(steps: int) -> Callable[[int], float]:
    """Factor of the learning rate at each step: up in a twentieth of them, half a cosine to 0."""
    warmup = steps // 20

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (1 + cos(pi * (step - warmup) / (steps - warmup))) / 2

    return factor
