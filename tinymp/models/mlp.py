"""The multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinymp.formats import DType, float32
from tinymp.nn import Dropout, Linear, Module, ReLU, Sequential


class MLP(Sequential):
    """Linear layers with an activation between them: (..., in_features) to (..., out_features).

    Args:
        in_features: length of an input.
        hidden_features: width of each hidden layer; none gives a linear model.
        out_features: length of an output, such as the number of classes; the outputs are logits.
        activation: what makes the activation after each hidden layer, such as `nn.ReLU`.
        dropout: probability with which each activation is dropped in training; 0 adds no such
            layer.
        device, dtype: of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: Sequence[int],
        out_features: int,
        activation: Callable[[], Module] = ReLU,
        dropout: float = 0.0,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        layers: list[Module] = []
        for width in hidden_features:
            layers += [Linear(in_features, width, device=device, dtype=dtype), activation()]
            layers += [Dropout(dropout)] if dropout else []
            in_features = width
        super().__init__(*layers, Linear(in_features, out_features, device=device, dtype=dtype))
