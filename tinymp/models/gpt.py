"""GPT: a decoder-only transformer, which predicts each next token from the tokens before it."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from tinymp.autograd import Tensor
from tinymp.formats import DType, bool_, float32
from tinymp.models.generation import generate
from tinymp.models.key_value_cache import KeyValueCache
from tinymp.nn import Dropout, Embedding, LayerNorm, Linear, Module, ModuleList, init
from tinymp.nn import functional as F
from tinymp.ops import arange, ones, tril


class CausalSelfAttention(Module):
    """Each position gathers from itself and those before it: (b, t, width) to the same shape.

    Source: Vaswani et al., Attention Is All You Need (arXiv 1706.03762), section 3.2.
    """

    def __init__(self, width: int, heads: int, dropout: float, dtype: DType | str) -> None:
        self.heads = heads
        self.query_key_value = Linear(width, 3 * width, dtype=dtype)
        self.projection = Linear(width, width, dtype=dtype)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x: (b, t, width); with a cache, the positions that follow those in it."""
        b, t, width = x.shape
        p = self.dropout.p if self.training else 0.0
        packed = self.query_key_value(x).reshape(b, t, 3, self.heads, width // self.heads)
        if cache is None:
            gathered = F.self_attention(packed, is_causal=True, dropout_p=p)
        else:
            query, key, value = (packed[:, :, i].transpose(1, 2) for i in range(3))
            key, value = cache.append(key, value)
            # The queries are the last t positions: the first of them sees all but t - 1 keys.
            is_past = tril(ones(t, len(cache), dtype=bool_, device=x.device), len(cache) - t)
            found = F.scaled_dot_product_attention(query, key, value, is_past, dropout_p=p)
            gathered = found.transpose(1, 2)
        out: Tensor = self.dropout(self.projection(gathered.reshape(b, t, width)))
        return out


class Block(Module):
    """Attention, then a perceptron at each position, each added to its own normalised input.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners (2019), section 2.3.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, dtype: DType | str, eps: float = 1e-5
    ) -> None:
        self.norm_1 = LayerNorm(width, eps, dtype=dtype)
        self.attention = CausalSelfAttention(width, heads, dropout, dtype)
        self.norm_2 = LayerNorm(width, eps, dtype=dtype)
        self.expand = Linear(width, 4 * width, dtype=dtype)
        self.contract = Linear(4 * width, width, dtype=dtype)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """x: (b, t, width); the cache is that of this block's attention."""
        x = x + self.attention(self.norm_1(x), cache)
        hidden = F.gelu(self.expand(self.norm_2(x)), approximate="tanh")
        x = x + self.dropout(self.contract(hidden))
        return x


class GPT(Module):
    """Logits of the next token at each position: tokens (b, t), int64, to (b, t, vocabulary).

    The table of token vectors serves at the output, too (tied weights: Press & Wolf, Using the
    Output Embedding to Improve Language Models, arXiv 1608.05859). Initial values are GPT-2's:
    normal of standard deviation 0.02, as in the code that was released with it (which has 0.01 for
    positions), and divided by √(2·layers) where a result is added to the stream (Radford et al.,
    2019, section 2.3).

    Args:
        vocabulary: number of tokens.
        context: most tokens that are looked at together.
        width: features of a position.
        layers: number of blocks.
        heads: parts in which each block attends; divides `width`.
        dropout: probability with which a feature or an attention weight is dropped in training.
        device, dtype: of the parameters.
        eps: what layer normalisation adds to the variance.

    Raises:
        ValueError: a size below 1, or a width that the heads do not divide.
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
        eps: float = 1e-5,
    ) -> None:
        sizes = {"vocabulary": vocabulary, "context": context, "width": width}
        for name, size in {**sizes, "layers": layers, "heads": heads}.items():
            if size < 1:
                raise ValueError(f"GPT was given {name} {size}; it must be at least 1")
        if width % heads:
            raise ValueError(
                f"GPT was given width {width} and {heads} heads; each head takes the same number "
                "of features, so heads must divide the width"
            )
        self.context = context
        self.token_table = Embedding(vocabulary, width, dtype=dtype)
        self.position_table = Embedding(context, width, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.blocks = ModuleList(Block(width, heads, dropout, dtype, eps) for _ in range(layers))
        self.norm = LayerNorm(width, eps, dtype=dtype)
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

    def forward(self, tokens: Tensor, caches: Sequence[KeyValueCache] | None = None) -> Tensor:
        """tokens: (b, t), int64, t up to `context`.

        `caches`, one a block, hold what earlier calls computed: then `tokens` are those that
        follow, the logits theirs, and earlier and new ones together are up to `context`.

        Raises:
            ValueError: more tokens in a row than `context`, or not two dimensions.
        """
        past = len(caches[0]) if caches else 0
        if tokens.ndim != 2 or past + tokens.shape[1] > self.context:
            after = f" after {past} in the cache" if past else ""
            raise ValueError(
                f"GPT was given tokens of shape {tokens.shape}{after}; it takes (batch, time) with "
                f"a time of up to its context, {self.context}"
            )
        positions = arange(past, past + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.token_table(tokens) + self.position_table(positions))
        own: Sequence[KeyValueCache | None] = caches or [None] * len(self.blocks)
        for block, cache in zip(self.blocks, own, strict=True):
            x = block(x, cache)
        return F.linear(self.norm(x), self.token_table.weight)

    def generate(
        self,
        tokens: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        use_cache: bool = True,
        seed: int | None = None,
    ) -> Tensor:
        """Continue each row of `tokens`: (b, t) to (b, t + max_new_tokens), int64.

        Each new token is drawn with probability softmax(logits / temperature); at temperature 0 it
        is the likeliest. Where the text grows longer than `context`, the model sees its end only.
        The model works in evaluation mode, and afterwards is in the mode in which it was.

        Args:
            tokens: the beginnings, t at least 1.
            max_new_tokens: how many tokens to add.
            temperature: 1 follows the model's probabilities, less prefers likely tokens more.
            top_k: choose among this many likeliest tokens only; None for all.
            use_cache: keep each layer's keys and values, so that a new token costs one position
                instead of all. The logits differ by rounding errors only.
            seed: of the random choices; None draws them from the default generator.

        Raises:
            ValueError: an empty beginning, or a setting out of range.
            FloatingPointError: logits that are NaN or infinite.
        """
        return generate(self, tokens, max_new_tokens, temperature, top_k, use_cache, seed)

    @staticmethod
    def from_pretrained(
        path: str | Path,
        dtype: DType | str | None = None,
        device: str = "cpu",
        dropout: float = 0.0,
    ) -> GPT:
        """A GPT-2 as Hugging Face's transformers saved it; nothing is downloaded.

        Args:
            path: a folder with config.json and model.safetensors in it, or the path of the latter.
            dtype: of the parameters; None for that of the file.
            device: of the parameters.
            dropout: see `GPT`; the file's own is not taken over, since it may name three.

        Raises:
            FileNotFoundError: a missing file.
            ValueError: a model that is no GPT-2, or a variant that computes something else, or
                weights that are missing or of another shape.
        """
        from tinymp.models.gpt2_files import load_gpt2

        return load_gpt2(Path(path), dtype, device, dropout)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, which transformers opens as a GPT-2.

        Each weight is stored in its own dtype. Files of these names are replaced.

        Raises:
            FileExistsError: `folder` is a file.
        """
        from tinymp.models.gpt2_files import save_gpt2

        save_gpt2(self, Path(folder))
