"""Multi-head attention, and the transformer's encoder layer that is built around it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, sqrt

from tinymp import ops
from tinymp.autograd import Tensor
from tinymp.formats import DType, bool_, float32
from tinymp.nn import init
from tinymp.nn.dropout import Dropout, dropout
from tinymp.nn.linear import Linear
from tinymp.nn.module import Module
from tinymp.nn.normalization import LayerNorm
from tinymp.nn.parameter import Parameter


class MultiheadAttention(Module):
    """Attention in `num_heads` parts of the features, each with its own queries, keys and values.

    Attributes:
        in_proj_weight: (3·embed_dim, embed_dim): for queries, keys and values, one below the other;
            Xavier uniform at first, as in PyTorch.
        in_proj_bias: (3·embed_dim,), zeros at first, or None.
        out_proj: the linear layer that mixes the heads' results.

    Source: Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.2.2.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention was given embed_dim={embed_dim} and num_heads={num_heads}; "
                "the second must divide the first"
            )
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        size = 3 * embed_dim
        self.in_proj_weight = Parameter(ops.zeros(size, embed_dim, dtype=dtype, device=device))
        self.in_proj_bias = Parameter(ops.zeros(size, dtype=dtype, device=device)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights; set biases to 0."""
        init.xavier_uniform_(self.in_proj_weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values, and the mean weights of all heads, None without `need_weights`.

        query: (L, N, E), key and value: (S, N, E), result: (L, N, E), weights: (N, L, S); with
        `batch_first` N stands first. Without a batch N is left out. `key_padding_mask`: (N, S), a
        bool one is true where a key is *not* to be looked at; `attn_mask`: (L, S) or
        (N·num_heads, L, S), bool in the same sense, or float, which is added. With `need_weights`
        the weights are computed by operations of their own; without, in the fused one, which is
        faster.

        Raises:
            ValueError: shapes that do not fit.
        """
        batched = query.ndim == 3
        if query.ndim not in (2, 3) or {x.ndim for x in (query, key, value)} != {query.ndim}:
            shapes = [x.shape for x in (query, key, value)]
            raise ValueError(
                f"MultiheadAttention was given shapes {shapes}; they must be (length, batch, "
                "features), or all without the batch; batch_first=True puts it first"
            )
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        q, k, v = (
            self._heads(ops.linear(x, weight, bias))
            for x, weight, bias in zip(
                (query, key, value), self.in_proj_weight.chunk(3), biases, strict=True
            )
        )
        mask = self._mask(q, k, attn_mask, key_padding_mask, is_causal)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = ops.matmul(q, k.mT) * (1 / sqrt(q.shape[-1]))
            weights = ops.softmax(scores if mask is None else scores + mask, -1)
            heads = ops.matmul(dropout(weights, p), v)
            weights = weights.mean(1)
        else:
            heads = ops.scaled_dot_product_attention(q, k, v, mask, p)
        out = self.out_proj(ops.reshape(heads.transpose(1, 2), query.shape))
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _heads(self, x: Tensor) -> Tensor:
        """(N, length, E) to (N, heads, length, E / heads)."""
        n, length, _ = x.shape
        parts = ops.reshape(x, n, length, self.num_heads, self.embed_dim // self.num_heads)
        return parts.transpose(1, 2)

    def _mask(
        self,
        q: Tensor,
        k: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        is_causal: bool,
    ) -> Tensor | None:
        """What is added to the scores: of all masks together, or None."""
        n, heads, length, _ = q.shape
        total: Tensor | None = None
        if is_causal and attn_mask is None:
            attn_mask = ~ops.tril(ops.ones(length, k.shape[2], dtype=bool_, device=q.device))
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = ops.reshape(attn_mask, n, heads, length, k.shape[2])
        if key_padding_mask is not None:
            key_padding_mask = ops.reshape(key_padding_mask, n, 1, 1, k.shape[2])
        for mask in (attn_mask, key_padding_mask):
            if mask is not None:
                if mask.dtype is bool_:
                    mask = ops.where(mask, -inf, ops.zeros((), dtype=q.dtype, device=q.device))
                total = mask if total is None else total + mask
        return total


class TransformerEncoderLayer(Module):
    """Self-attention and two linear layers, each part with a residual connection and a norm.

    The norms come after the sums, or, with `norm_first`, at the beginning of each branch.

    Source: Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.1; norms first:
    Xiong et al., On Layer Normalization in the Transformer Architecture (arXiv 2002.04745).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Callable[[Tensor], Tensor] = ops.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str = "cpu",
        dtype: DType | str = float32,
    ) -> None:
        place = (device, dtype)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first, *place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, *place)
        self.linear2 = Linear(dim_feedforward, d_model, bias, *place)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, True, bias, *place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, True, bias, *place)
        self.dropout = Dropout(dropout)
        self.activation = activation
        self.norm_first = norm_first

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """src: as the query of `MultiheadAttention`, and so are the masks."""

        def attend(x: Tensor) -> Tensor:
            attended, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal)
            return self.dropout(attended)  # type: ignore[no-any-return]

        def feed(x: Tensor) -> Tensor:
            hidden = self.dropout(self.activation(self.linear1(x)))
            return self.dropout(self.linear2(hidden))  # type: ignore[no-any-return]

        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + feed(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + feed(src))  # type: ignore[no-any-return]
