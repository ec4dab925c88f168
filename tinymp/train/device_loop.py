"""The steps of `train.loop` on a GPU, where the host never waits for one.

The lines are those of `train_step`, in the same order; 3 to 7 are `amp.DeviceStep`, kernels over
all parameters at once. The host only starts work: losses, scales and skips are written to a log in
the GPU's memory and read at the end of an epoch.

With `capture`, a step is recorded once as a CUDA graph, and then started as a whole, which costs
the host a few microseconds in place of some for every operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinymp.amp.device_step import DeviceStep, refusal
from tinymp.autograd import Tensor
from tinymp.devices import get_rng_state
from tinymp.train.step import StepRecord, microbatches
from tinymp.train.training import forward

if TYPE_CHECKING:
    from tinymp.train.training import Training

_LINES = 4096  # of the log; it is read when they are used up
_WARM_UP = 2  # steps before one is captured: kernels are compiled, gradients and state exist


class DeviceLoop:
    """Steps of a training on a GPU.

    Raises:
        ValueError: a training that these kernels do not serve; `DeviceLoop.serves` says why.
    """

    def __init__(self, training: Training, capture: bool = False) -> None:
        self._training = training
        self._update = DeviceStep(
            training.masters,
            training.optimizer,
            training.scaler,
            lambda step: training.schedule.rate(step, training.schedule.base_lrs[0], 0),
            training.steps,
            training.configuration.clip,
        )
        xp = self._update.xp
        self._log = xp.zeros((_LINES, 3), np.float64)
        self._line = xp.zeros(1, np.int64)
        self._records: list[StepRecord] = []
        self._started = self._pending = 0
        self._capture = capture
        self._graph: Any = None

    @staticmethod
    def serves(training: Training) -> str | None:
        """Why a training is to run by `train_step`; None if a DeviceLoop can do it."""
        narrow = training.policy.param.itemsize < 4
        if training.scaler.is_enabled() and narrow and not training.policy.masters:
            return "the gradients of 2-byte parameters without masters are unscaled in 2 bytes"
        with training.policy.rounding_context():
            return refusal(training.masters, training.optimizer, training.scaler)

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """Start a step on one batch; its record comes with `finish`."""
        if self._pending == _LINES:
            self._read_log()
        if not self._capture or self._started < _WARM_UP:
            self._run(inputs, targets)
        elif self._graph is None:
            self._graph = CapturedStep(self._run, inputs, targets)
        if self._graph is not None and self._graph.fits(inputs, targets):
            self._graph(inputs, targets)
        elif self._graph is not None:
            self._run(inputs, targets)  # a smaller last batch
        self._started += 1
        self._pending += 1

    def _run(self, inputs: Tensor, targets: Tensor) -> None:
        training, mean_loss = self._training, None
        self._update.zero_grad()
        count, weight = training.configuration.microbatches, training.configuration.loss_weight
        with training.policy.rounding_context():
            for x, y, share in microbatches(inputs, targets, count):
                _, loss = forward(training, x, y)
                part = _times(loss.float(), share)._array
                mean_loss = part if mean_loss is None else mean_loss + part
                # 1. Backward on the scaled loss: from the scale as the gradient of the loss.
                _times(loss, share * weight).backward(self._update.gradient)
                # 2. The gradients of microbatches add up in the float32 masters.
                if count > 1:
                    training.masters.copy_gradients(accumulate=True)
            # 3. to 7.
            check = self._update()
        self._update.note(self._log, self._line, mean_loss, check)

    def finish(self) -> list[StepRecord]:
        """Wait for the steps that were started, and return their records.

        Optimizer, scaler and schedule are brought up to date.

        Raises:
            FloatingPointError: the loss scale has fallen to zero.
        """
        self._read_log()
        records, self._records = self._records, []
        training = self._training
        taken = {"last_epoch": self._update.settle(), "base_lrs": training.schedule.base_lrs}
        training.schedule.load_state_dict(taken)  # a skipped step does not change the rate
        if training.scaler.get_scale() == 0:
            raise FloatingPointError(
                "the loss scale has fallen to zero: every step was skipped, so gradients are inf "
                "or NaN for a reason that no scale can mend; look at the loss of the first skipped "
                "step, and train with --device cpu for a diagnosis"
            )
        return records

    def _read_log(self) -> None:
        lines = self._log[: int(self._line.get()[0])].get()
        self._line.fill(0)
        self._pending = 0
        skips = self._training.scaler.is_enabled()
        self._records += [
            StepRecord(float(loss), float(scale), skips and bool(found))
            for loss, scale, found in lines
        ]


class CapturedStep:
    """A step as a CUDA graph: the work that a function starts, recorded once and started as one.

    The graph works on memory of its own; a batch is copied into it before each launch. What the
    function does on the host (counting, drawing random words) is not repeated.

    Raises:
        RuntimeError: a step that draws random numbers, or waits for the GPU.
    """

    def __init__(self, function: Any, inputs: Tensor, targets: Tensor) -> None:
        import cupy

        self._inputs, self._targets = (_copy(x) for x in (inputs, targets))
        self._stream = cupy.cuda.Stream(non_blocking=True)
        # Memory that the graph uses must not go to anyone else while the graph lives.
        self._pool = cupy.cuda.MemoryPool()
        drawn = get_rng_state()
        cupy.cuda.get_current_stream().synchronize()
        with cupy.cuda.using_allocator(self._pool.malloc), self._stream:
            self._stream.begin_capture()
            try:
                function(self._inputs, self._targets)
            except Exception as error:
                _abandon(self._stream)
                raise RuntimeError(
                    f"a training step cannot be captured as a CUDA graph: {error}; train without "
                    "--capture"
                ) from error
            self._graph = self._stream.end_capture()
        if get_rng_state() != drawn:
            raise RuntimeError(
                "a training step that draws random numbers (dropout, stochastic rounding) cannot "
                "be captured as a CUDA graph, which would draw the same ones again; train without "
                "--capture"
            )

    def fits(self, inputs: Tensor, targets: Tensor) -> bool:
        """Whether a batch has the shapes that were recorded."""
        return (inputs.shape, targets.shape) == (self._inputs.shape, self._targets.shape)

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """Start the step on another batch."""
        import cupy

        self._inputs._array[...] = inputs._array
        self._targets._array[...] = targets._array
        self._graph.launch(cupy.cuda.get_current_stream())


def _times(loss: Tensor, factor: float) -> Tensor:
    """The product, for which nothing is done where the factor is 1."""
    return loss if factor == 1 else loss * factor


def _copy(x: Tensor) -> Tensor:
    return Tensor(x._array.copy(), x.dtype)


def _abandon(stream: Any) -> None:
    """End a capture that failed; the stream is unusable before."""
    try:
        stream.end_capture()
    except Exception:  # it says again that the capture failed
        return
