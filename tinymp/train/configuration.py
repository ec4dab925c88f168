"""What decides how a training run goes: the same configuration, the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tinymp.optim import SGD, AdamW, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {"adamw": AdamW, "sgd": SGD}
TOKENIZERS = ("characters", "bytes")

#: The models that can learn each data set; the first is the default.
MODELS = {
    "digits": ("mlp", "convnet"),
    "spelling": ("gpt",),
    "text": ("gpt",),
    "gpt2-shape": ("gpt",),
}

_COUNTS = (
    "epochs",
    "batch_size",
    "microbatches",
    "growth_interval",
    "width",
    "layers",
    "heads",
    "context",
    "vocabulary",
)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The settings of a run, as its folder keeps them in `configuration.json`.

    The defaults suit digits; `recipe` gives those of any task.

    Attributes:
        data: the data set, one of `MODELS`.
        model: the kind of model, one of those that can learn the data; by default the first.
        policy: the mixed-precision policy, one of `amp`'s presets.
        epochs: passes over the training set; the learning rate falls to zero over all of them.
        batch_size: examples in a step.
        microbatches: parts in which a batch passes the model; their gradients are added up.
        lr: the learning rate at its highest, after warm-up.
        optimizer: "adamw", or "sgd" (without momentum).
        loss_weight: factor on the loss in training, as of one term among several. AdamW's steps do
            not depend on it; which gradients float16 can hold does.
        hidden: the widths of an mlp's hidden layers; the channels of a convnet's stages.
        width, layers, heads: a gpt's features, blocks, and heads of attention in each.
        dropout: share of a gpt's features that are dropped in training.
        context: tokens that a gpt sees of a text at a time.
        vocabulary: number of different tokens, where they are generated.
        tokenizer: what is a token of a text: one of its characters, or one of its bytes.
        text: the file with the text, of data "text" only.
        text_sha256: of that file: a run goes on only with the text that it began with.
        growth_interval: clean steps in a row after which a dynamic loss scale doubles. PyTorch's
            2000 suits long runs; in a short one the scale would hardly move.
        clip: the largest norm of the gradient of all parameters; a longer one is shortened.
        seed: of the initial parameters and the order of the data, 0 to 2**64 - 1.
        device: "cpu" or "cuda".
        capture: record a step once and repeat it: on a GPU as a CUDA graph, on a CPU the loss and
            its gradients as plain NumPy (`amp.capture_backward`).
    """

    data: str = "digits"
    model: str = ""
    policy: str = "fp16"
    epochs: int = 30
    batch_size: int = 32
    microbatches: int = 1
    lr: float = 0.005
    optimizer: str = "adamw"
    loss_weight: float = 1.0
    hidden: tuple[int, ...] = (128, 64)
    width: int = 64
    layers: int = 2
    heads: int = 4
    dropout: float = 0.0
    context: int = 64
    vocabulary: int = 50304
    tokenizer: str = "characters"
    text: str = ""
    text_sha256: str = ""
    growth_interval: int = 100
    clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    capture: bool = False

    def __post_init__(self) -> None:
        if self.data not in MODELS:
            raise ValueError(f"unknown data {self.data!r}; expected one of {', '.join(MODELS)}")
        models = MODELS[self.data]
        # How a frozen dataclass fills in its own defaults.
        object.__setattr__(self, "model", self.model or models[0])
        if self.model not in models:
            raise ValueError(
                f"{self.data} cannot be learned by model {self.model!r}; expected one of "
                f"{', '.join(models)}"
            )
        smallest = {name: getattr(self, name) for name in _COUNTS}
        smallest["hidden"] = min(self.hidden, default=1)
        for name, value in smallest.items():
            if value < 1:
                raise ValueError(f"{name} must be at least 1, but {value} was given")
        for name in ("lr", "loss_weight", "clip"):
            size = getattr(self, name)
            if not 0 < size < float("inf"):
                raise ValueError(f"{name} must be a positive number, but {size} was given")
        if not 0 <= self.dropout < 1:
            raise ValueError(
                f"dropout must be a share, from 0 to below 1, but {self.dropout} was given"
            )
        if self.capture and self.dropout:
            raise ValueError(
                f"a step with a dropout of {self.dropout} draws other random numbers each time, so "
                "it cannot be captured; leave --dropout or --capture out"
            )
        for name, known in (("optimizer", OPTIMIZERS), ("tokenizer", TOKENIZERS)):
            given = getattr(self, name)
            if given not in known:
                raise ValueError(f"unknown {name} {given!r}; expected one of {', '.join(known)}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed must be from 0 to 2**64 - 1, but {self.seed} was given")
        if self.microbatches > self.batch_size:
            raise ValueError(
                f"batches of {self.batch_size} examples cannot be cut into {self.microbatches} "
                "microbatches; choose fewer, or a larger batch_size"
            )

    def as_dict(self) -> dict[str, Any]:
        """The settings by name, as JSON can hold them."""
        return {**asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Configuration:
        """The configuration that `as_dict` described.

        Raises:
            ValueError: a setting that no configuration has, or a value out of range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in settings if name not in known]:
            raise ValueError(f"unknown setting {unknown[0]!r}; expected one of {', '.join(known)}")
        hidden = settings.get("hidden", cls.hidden)
        return cls(**{**settings, "hidden": tuple(hidden)})
