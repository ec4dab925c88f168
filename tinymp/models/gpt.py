"""GPT: a decoder-only transformer, which predicts each next token from the tokens before it."""

from __future__ import annotations

from math import inf, sqrt

from tinymp.autograd import Tensor
from tinymp.formats import DType, float32
from tinymp.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, init
from tinymp.nn import functional as F
from tinymp.ops import arange, softmax, where


class CausalSelfAttention(Module):
    """Each position gathers from itself and those before it: (b, t, width) to the same shape.

    Source: Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float, dtype: DType | str) -> None:
        self.heads = heads
        self.query_key_value = Linear(width, 3 * width, dtype=dtype)
        self.projection = Linear(width, width, dtype=dtype)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, t, width)."""
        b, t, width = x.shape
        features = width // self.heads
        # (b, t, 3·width) → three of (b, heads, t, features)
        split = self.query_key_value(x).reshape(b, t, 3, self.heads, features)
        query, key, value = (split[:, :, i].transpose(1, 2) for i in range(3))
        scores = query @ key.transpose(2, 3) / sqrt(features)
        position = arange(t, device=x.device)
        is_past = position.reshape(t, 1) >= position
        attention = self.dropout(softmax(where(is_past, scores, -inf), -1))
        gathered = (attention @ value).transpose(1, 2).reshape(b, t, width)
        out: Tensor = self.dropout(self.projection(gathered))
        return out


class Block(Module):
    """Attention, then a perceptron at each position, each added to its own normalised input.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.3.
    """

    def __init__(self, width: int, heads: int, dropout: float, dtype: DType | str) -> None:
        self.norm_1 = LayerNorm(width, dtype=dtype)
        self.attention = CausalSelfAttention(width, heads, dropout, dtype)
        self.norm_2 = LayerNorm(width, dtype=dtype)
        self.expand = Linear(width, 4 * width, dtype=dtype)
        self.contract = Linear(4 * width, width, dtype=dtype)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, t, width)."""
        x = x + self.attention(self.norm_1(x))
        hidden = F.gelu(self.expand(self.norm_2(x)), approximate="tanh")
        x = x + self.dropout(self.contract(hidden))
        return x


class GPT(Module):
    """Logits of the next token at each position: tokens (b, t), int64, to (b, t, vocabulary).

    The table of token vectors serves at the output, too (tied weights: Press & Wolf, Using the
    Output Embedding to Improve Language Models, arXiv 1608.05859). Initial values are GPT-2's:
    normal of standard deviation 0.02, divided by √(2·layers) where a result is added to the stream
    (Radford et al., 2019, section 2.3).

    Args:
        vocabulary: number of tokens.
        context: most tokens that are looked at together.
        width: features of a position.
        layers: number of blocks.
        heads: parts in which each block attends; divides `width`.
        dropout: probability with which a feature is dropped in training.
        device, dtype: of the parameters.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        if width % heads:
            raise ValueError(
                f"GPT was given width {width} and {heads} heads; each head takes the same number "
                "of features, so heads must divide the width"
            )
        self.context = context
        self.token_table = Embedding(vocabulary, width, dtype=dtype)
        self.position_table = Embedding(context, width, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.blocks = ModuleList(Block(width, heads, dropout, dtype) for _ in range(layers))
        self.norm = LayerNorm(width, dtype=dtype)
        self._initialise()
        self.to(device)

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                adds_to_stream = name.endswith(("projection.weight", "contract.weight"))
                scale = sqrt(2 * len(self.blocks)) if adds_to_stream else 1
                init.normal_(parameter, std=0.02 / scale)
            elif name.endswith("bias"):
                init.zeros_(parameter)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (b, t), int64, t up to `context`.

        Raises:
            ValueError: more tokens in a row than `context`, or not two dimensions.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.context:
            raise ValueError(
                f"GPT was given tokens of shape {tokens.shape}; it takes (batch, time) with a time "
                f"of up to its context, {self.context}"
            )
        positions = arange(tokens.shape[1], device=tokens.device)
        x = self.dropout(self.token_table(tokens) + self.position_table(positions))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.token_table.weight)
