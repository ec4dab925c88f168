"""The embedding: a table with a learned vector for each token."""

from __future__ import annotations

from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import init
from tinymp.nn.module import Module
from tinymp.nn.parameter import Parameter
from tinymp.ops import embedding, zeros


class Embedding(Module):
    """The vectors of tokens: (...), int64, to (..., embedding_dim).

    Attributes:
        weight: (num_embeddings, embedding_dim), standard normal at first, as in PyTorch.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = Parameter(zeros(num_embeddings, embedding_dim, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        init.normal_(self.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: any shape, int64, each from 0 to num_embeddings - 1."""
        return embedding(tokens, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}"
