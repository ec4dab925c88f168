"""What an operation does not take, it refuses in one sentence."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import tinymp as mp

M = mp.ones(2, 3)
IMAGE = mp.ones(1, 2, 4, 4)
KERNEL = mp.ones(4, 2, 2, 2)
IDS = mp.tensor([0, 1])


@pytest.mark.parametrize(
    ("call", "error", "complaint"),
    [
        # dimensions
        (lambda: M.sum(2), IndexError, r"sum was given dim=2 .*2 dimensions.*from -2 to 1"),
        (lambda: M.mean(-3), IndexError, "mean was given dim=-3"),
        (lambda: mp.softmax(M, 5), IndexError, "softmax was given dim=5"),
        (lambda: mp.tensor(1.0).sum(0), IndexError, "0 dimensions; it must be left out"),
        (lambda: M.sum((0, -2)), ValueError, r"dim=\(0, -2\), which names a dimension twice"),
        (lambda: M.permute(0, 0), ValueError, r"permute.*\(0, 0\).*each of its 2 dimensions once"),
        (lambda: M.transpose(0, 2), IndexError, "transpose was given dim=2"),
        (lambda: M.squeeze(4), IndexError, "squeeze was given dim=4"),
        (lambda: mp.ones(1, 1, 1).t(), ValueError, r"\(1, 1, 1\).*at most 2.*transpose"),
        # shapes
        (lambda: M.reshape(4), ValueError, r"reshape was given .*\(4,\).*\(2, 3\).*hold its 6 el"),
        (lambda: M.expand(3, 3), ValueError, r"expand.*\(3, 3\).*\(2, 3\).*length 1"),
        (lambda: M.expand(3), ValueError, r"expand.*\(3,\).*\(2, 3\)"),
        (lambda: M.expand(-1, 2, 3), ValueError, r"expand.*\(-1, 2, 3\)"),
        (lambda: mp.cat([]), ValueError, "cat was given no tensors"),
        (lambda: mp.stack([]), ValueError, "stack was given no tensors"),
        (lambda: mp.cat([M, mp.ones(2, 2)]), ValueError, r"cat was given .*, \(2, 2\);.*but along"),
        (lambda: mp.stack([M, M.T]), ValueError, r"stack was given .*, \(3, 2\); they must be equ"),
        (lambda: M.split([1, 1], dim=1), ValueError, r"\[1, 1\].*add up to 3"),
        (lambda: M.split(0), ValueError, "length 0.*at least 1"),
        (lambda: mp.pad(M, (1,)), ValueError, r"pad.*\(1,\).*pairs"),
        (lambda: mp.pad(M, (1, 1), "mirror"), ValueError, "mode='mirror'; it must be one of const"),
        (lambda: mp.pad(M, (3, 0), "reflect"), ValueError, r"\(3, 0\) for a dimension of length 3"),
        (lambda: mp.pad(M, (1, -1)), ValueError, r"numbers ≥ 0"),
        # products
        (lambda: M @ M, ValueError, r"\(2, 3\) and \(2, 3\).*must equal the second to last"),
        (lambda: M @ mp.ones(2), ValueError, "equal the only length"),
        (lambda: M @ mp.tensor(1.0), ValueError, r"at least one dimension; use \*"),
        (lambda: mp.tensor(1.0) @ 2.0, TypeError, r"matmul was given a float.*use \*"),
        (lambda: M @ mp.ones(3, dtype=mp.int64), TypeError, "matmul was given int64.*convert"),
        (lambda: mp.ones(2, 3, 4) @ mp.ones(3, 4, 5), ValueError, r"matmul\(float32\[2, 3, 4\]"),
        (lambda: mp.linear(M, mp.ones(3, 2)), ValueError, r"linear.*\(2, 3\).*\(3, 2\)"),
        (lambda: mp.linear(M, M, mp.ones(3)), ValueError, r"bias of shape \(3,\).*must be \(2,\)"),
        (lambda: mp.linear(M, mp.ones(2, 3, dtype=mp.bool)), TypeError, "linear was given bool"),
        (lambda: mp.mm(M, mp.ones(3)), ValueError, r"mm.*\(2, 3\) and \(3,\).*2 and 2 dimensions"),
        (lambda: mp.mv(M, M), ValueError, "mv was given .*it takes 2 and 1 dimensions"),
        (lambda: mp.bmm(M, M), ValueError, "it takes 3 and 3 dimensions"),
        (lambda: mp.bmm(mp.ones(2, 1, 1), mp.ones(3, 1, 1)), ValueError, "bmm.*of one length"),
        (lambda: mp.dot(mp.ones(2), mp.ones(3)), ValueError, r"dot.*\(2,\) and \(3,\).*be equal"),
        (lambda: mp.dot(M, M), ValueError, "it takes 1 and 1 dimensions"),
        (lambda: mp.dot(IDS, IDS), TypeError, "dot was given int64"),
        (lambda: mp.outer(M, M), ValueError, "outer was given .*it takes 1 and 1 dimensions"),
        (lambda: mp.einsum("ij,jk", M), ValueError, "has 2 terms but was given 1 operands"),
        (lambda: mp.einsum("i->i", "x"), TypeError, "einsum was given a str; it takes a tensor"),
        (lambda: mp.einsum("i->i", M), ValueError, r"\(2, 3\) for the term 'i'; give a letter"),
        (lambda: mp.einsum("i$->i", M), ValueError, "terms of letters, with at most one"),
        (lambda: mp.einsum("......->i", M), ValueError, "with at most one"),
        (lambda: mp.einsum("ij->ik", M), ValueError, "'k' must be in the result once"),
        (lambda: mp.einsum("ij->ii", M), ValueError, "'i' must be in the result once"),
        (lambda: mp.einsum("ij,ij", M, M.T), ValueError, "lengths 2 and 3 for 'i'.*equal, or 1"),
        (lambda: mp.einsum("...,...", M, M.T), ValueError, "a dimension of the ellipsis"),
        (lambda: mp.conv2d(M, M), ValueError, r"images of shape \(2, 3\).*four dimensions"),
        (lambda: mp.conv2d(IMAGE, KERNEL[:, :1]), ValueError, r"conv2d.*kernels for 1 channels"),
        (lambda: mp.conv2d(IMAGE, KERNEL, groups=2), ValueError, "kernels for 4 channels"),
        (lambda: mp.conv2d(IMAGE, KERNEL[:1], groups=2), ValueError, "groups must divide"),
        (lambda: mp.conv2d(IMAGE, KERNEL, mp.ones(3)), ValueError, r"bias of .*\(3,\).*\(4,\)"),
        (lambda: mp.conv2d(IMAGE, KERNEL, stride=0), ValueError, "stride=0; it must be a number"),
        (lambda: mp.conv2d(IMAGE, KERNEL, padding=(1, 2, 3)), ValueError, r"padding=\(1, 2, 3\)"),
        (lambda: mp.conv2d(IMAGE, KERNEL, padding="full"), ValueError, "'full'.*'valid'.*'same'"),
        (lambda: mp.conv2d(IMAGE, KERNEL, None, 2, "same"), ValueError, "for stride 1, 'same'"),
        (lambda: mp.conv2d(IMAGE, KERNEL, dilation=9), ValueError, r"conv2d.*\(2, 2\).*fits nowh"),
        (lambda: mp.conv2d(IMAGE > 0, KERNEL), TypeError, "conv2d was given bool"),
        (lambda: mp.conv1d(IMAGE, KERNEL), ValueError, r"conv1d was given .*\(N, C, L\)"),
        (lambda: mp.conv_transpose2d(IMAGE, KERNEL), ValueError, "kernels for 4 channels"),
        (
            lambda: mp.conv_transpose2d(IMAGE, KERNEL[:2], output_padding=1),
            ValueError,
            "output_padding=1 for stride=1 and dilation=1",
        ),
        (lambda: mp.conv_transpose1d(IMAGE, KERNEL), ValueError, "conv_transpose1d was given"),
        # windows and attention
        (lambda: mp.max_pool2d(M, 2), ValueError, r"max_pool2d.*\(2, 3\).*\(N, C, H, W\)"),
        (lambda: mp.max_pool2d(IMAGE, 2, padding=2), ValueError, "more than half of the window"),
        (lambda: mp.avg_pool2d(IMAGE, 5), ValueError, r"avg_pool2d.*fits nowhere"),
        (lambda: mp.avg_pool2d(IMAGE, 0), ValueError, "kernel_size=0; it must be a number of at"),
        (lambda: mp.adaptive_avg_pool2d(IMAGE, 0), ValueError, "output_size=0"),
        (lambda: mp.max_pool1d(M, 2), ValueError, "max_pool1d was given"),
        (lambda: mp.avg_pool1d(M, 2), ValueError, "avg_pool1d was given"),
        (lambda: mp.avg_pool2d(IMAGE > 0, 2), TypeError, "avg_pool2d was given bool"),
        (
            lambda: mp.scaled_dot_product_attention(M, M.T, M),
            ValueError,
            r"shapes \(\(2, 3\), \(3, 2\), \(2, 3\)\); they must be \(..., L, E\)",
        ),
        (lambda: mp.scaled_dot_product_attention(IDS, M, M), TypeError, "was given int64"),
        (
            lambda: mp.scaled_dot_product_attention(M, M, M, M > 0, is_causal=True),
            ValueError,
            "a mask and is_causal=True; put both into the mask",
        ),
        (
            lambda: mp.scaled_dot_product_attention(M, M, M, dropout_p=1),
            ValueError,
            "dropout_p=1; it is a probability",
        ),
        # arrangement
        (lambda: M.flip(2), IndexError, "flip was given dim=2"),
        (lambda: M.roll((1, 2), 0), ValueError, r"shifts=\(1, 2\) and dims=0.*one shift for each"),
        (lambda: M.repeat(2), ValueError, r"repeat.*\(2,\).*\(2, 3\).*each of its 2 dimensions"),
        (lambda: M.repeat(2, -1), ValueError, "it takes numbers ≥ 0"),
        (lambda: mp.ones(2).tril(), ValueError, r"tril.*\(2,\).*at least two dimensions"),
        (lambda: mp.ones(2).triu(), ValueError, "triu was given"),
        (lambda: M.diagonal(0, 1, -1), ValueError, "dim1=1 and dim2=-1; they must be different"),
        (lambda: mp.ones(2).trace(), ValueError, r"trace.*\(2,\).*one matrix"),
        (lambda: M.movedim((0, 0), (0, 1)), ValueError, r"source=\(0, 0\).*each once"),
        (lambda: M.movedim(0, (0, 1)), ValueError, "as many places as dimensions"),
        (lambda: M.chunk(0), ValueError, "chunks=0.*at least 1"),
        (lambda: M.unbind(2), IndexError, "unbind was given dim=2"),
        # normalisation and losses
        (lambda: mp.layer_norm(M, (2,)), ValueError, r"layer_norm over \(2,\).*\(2, 3\)"),
        (lambda: mp.layer_norm(M, (3,), mp.ones(2)), ValueError, r"weight of shape \(2,\).*\(3,\)"),
        (lambda: mp.mse_loss(M, mp.ones(3)), ValueError, r"mse_loss.*\(2, 3\) and \(3,\).*equal"),
        (lambda: mp.mse_loss(M, M, "max"), ValueError, "'max'.*mean, sum, none"),
        (
            lambda: mp.cross_entropy(M, mp.tensor([0, 3])),
            ValueError,
            r"label 3 at \[1\]; with 3 classes labels are 0 to 2",
        ),
        (
            lambda: mp.cross_entropy(mp.ones(1, 2, 2, 2), mp.tensor([[[0, 1], [-1, 0]]])),
            ValueError,
            r"label -1 at \[0, 1, 0\]; with 2 classes labels are 0 to 1",
        ),
        (lambda: mp.cross_entropy(mp.ones(3), mp.tensor(7)), ValueError, r"label 7 at \[\]"),
        (lambda: mp.cross_entropy(M, mp.tensor([0])), ValueError, r"\(2, 3\).*\(1,\).*here \(2,\)"),
        (lambda: mp.cross_entropy(M, mp.ones(2)), TypeError, "float32 labels.*int64"),
        (lambda: mp.nll_loss(M, mp.tensor([0, 3])), ValueError, r"nll_loss.*label 3 at \[1\]"),
        (
            lambda: mp.cross_entropy(M, IDS, mp.ones(2)),
            ValueError,
            r"weight of shape \(2,\).*each of 3 classes",
        ),
        (lambda: mp.cross_entropy(M, IDS, label_smoothing=2), ValueError, "a share, from 0 to 1"),
        (lambda: mp.l1_loss(M, mp.ones(3)), ValueError, r"l1_loss.*\(2, 3\) and \(3,\).*equal"),
        (lambda: mp.huber_loss(M, M, delta=0), ValueError, "delta=0; it must be above 0"),
        (lambda: mp.smooth_l1_loss(M, M, beta=-1), ValueError, "beta=-1; it must be at least 0"),
        (lambda: mp.kl_div(M, M, "max"), ValueError, "'max' was given to kl_div"),
        (
            lambda: mp.binary_cross_entropy_with_logits(M, M, mp.ones(2)),
            ValueError,
            r"a weight of shape \(2,\) for logits of shape \(2, 3\); it must broadcast",
        ),
        (lambda: mp.rms_norm(M, (2,)), ValueError, r"rms_norm over \(2,\).*\(2, 3\)"),
        (lambda: mp.batch_norm(M, None, None), ValueError, "no running statistics outside of tr"),
        (lambda: mp.batch_norm(M[:1], None, None, training=True), ValueError, "one value a ch"),
        (lambda: mp.batch_norm(M[0], None, None), ValueError, r"\(3,\).*\(N, C, ...\)"),
        (lambda: mp.group_norm(M, 2), ValueError, "2 groups for 3 channels; the first must divide"),
        (lambda: mp.group_norm(M, 3, mp.ones(2)), ValueError, r"a weight of shape \(2,\).*\(3,\)"),
        (lambda: mp.embedding(M, M), TypeError, "embedding was given float32 tokens.*int64"),
        (lambda: mp.embedding(IDS, IDS), ValueError, r"weight of shape \(2,\).*\(tokens, features"),
        (lambda: mp.embedding(IDS + 1, M), IndexError, "the token 2; with 2 rows.* 0 to 1"),
        (lambda: mp.cross_entropy(M, [0, 1]), TypeError, "list labels.*int64 tensor"),
        # choices
        (lambda: mp.where(M, M, M), TypeError, "where was given a float32 condition.*x > 0"),
        (lambda: M.masked_fill([True], 0), TypeError, "masked_fill was given a list mask.*x > 0"),
        (lambda: M.masked_fill(M > 0, M), ValueError, r"values of shape \(2, 3\).*use where"),
        (lambda: mp.hardtanh(M, 1, 1), ValueError, "min_val=1 and max_val=1.*must be smaller"),
        (lambda: M & True, TypeError, "bitwise_and was given a float32.*booleans and integers"),
        (lambda: ~M, TypeError, "bitwise_not was given a float32.*x > 0"),
        (lambda: (M > 0) | 0.5, TypeError, "bitwise_or was given a float;"),
        (lambda: mp.bitwise_xor(M, M), TypeError, "bitwise_xor was given a float32"),
        (M.clamp, ValueError, "neither min nor max"),
        (lambda: M.clamp(mp.ones(3)), TypeError, "clamp was given a Tensor.*maximum and minimum"),
        (lambda: mp.gelu(M, approximate="erf"), ValueError, "'erf'.*'none' or 'tanh'"),
        (lambda: mp.zeros(0).max(), ValueError, r"amax.*\(0,\).*at least one"),
        (lambda: mp.zeros(2, 0).argmin(1), ValueError, r"argmin.*\(2, 0\).*at least one"),
        (lambda: mp.zeros(0).median(), ValueError, r"median.*\(0,\).*at least one"),
        (lambda: mp.zeros(2, 0).median(1), ValueError, r"argmedian.*\(2, 0\).*at least one"),
        (lambda: mp.zeros(2, 0).norm(float("inf"), 1), ValueError, r"norm.*\(2, 0\).*at least one"),
        (lambda: M.norm("nuc"), ValueError, "p='nuc'.*a number or 'fro'"),
        (lambda: M.topk(4), ValueError, r"k=4.*\(2, 3\).*dimension 1 it must be from 0 to 3"),
        (lambda: M.sort(2), IndexError, "sort was given dim=2"),
        (lambda: M.cumsum(-3), IndexError, "cumsum was given dim=-3"),
        (lambda: M.cumprod(2), IndexError, "cumprod was given dim=2"),
        (lambda: M.prod((0, 0)), ValueError, "prod was given .*names a dimension twice"),
        (lambda: M.all(2), IndexError, "all was given dim=2"),
        # indices
        (lambda: M[2], IndexError, r"index 2 is out of bounds.*shape \(2, 3\)"),
        (lambda: M[0, 0, 0], IndexError, r"too many indices.*shape \(2, 3\)"),
        (lambda: M[mp.tensor([5])], IndexError, r"index 5 is out of bounds.*\(2, 3\)"),
        (lambda: M[1.0], IndexError, "1.0 was given as an index; use integers"),
        (lambda: M[mp.ones(2)], IndexError, "float32 tensor was given as an index"),
        (lambda: M[np.ones(2)], IndexError, "index of float64.*integers or booleans"),
        (lambda: M.gather(0, M), TypeError, "gather was given float32 indices.*int64"),
        (lambda: M.gather(0, IDS), ValueError, r"gather.*\(2,\).*\(2, 3\).*as many dimensions"),
        (lambda: M.gather(0, mp.tensor([[2]])), IndexError, "index 2; with 2 elements.*0 to 1"),
        (lambda: M.gather(1, mp.tensor([[-1]])), IndexError, "gather was given the index -1"),
        (lambda: M.gather(1, [[0]]), TypeError, "gather was given list indices"),
        (lambda: M.scatter_add(0, mp.tensor([[5]]), M), IndexError, "scatter_add.*index 5"),
        (
            lambda: M.scatter_add(0, mp.tensor([[0, 1]]), mp.ones(1, 1)),
            ValueError,
            r"a source of shape \(1, 1\) for an index of shape \(1, 2\)",
        ),
        (lambda: M.index_select(0, mp.tensor([[0]])), ValueError, r"\(1, 1\).*use x\[index\]"),
        (lambda: M.index_select(1, mp.tensor([3])), IndexError, "index_select.*index 3"),
        (lambda: mp.take_along_dim(M, M, 1), TypeError, "float32 indices.*int64"),
        (
            lambda: mp.take_along_dim(M, mp.tensor([[0]]), 1),
            ValueError,
            r"indices of shape \(1, 1\).*\(2, 3\).*dimension 1",
        ),
        # conversions and creation
        (lambda: M.to("float17"), TypeError, "unknown dtype 'float17'.*float16, bfloat16"),
        (lambda: mp.tensor(["a"]), TypeError, "list values.*numbers and booleans"),
        (lambda: mp.tensor([[1], [1, 2]]), ValueError, "nested lists of different lengths"),
        (lambda: mp.from_numpy([1.0]), TypeError, "from_numpy was given a list.*tinymp.tensor"),
        (lambda: mp.from_numpy(np.ones(2, np.int32)), TypeError, "int32.*converts it to int64"),
        (lambda: mp.zeros(2).copy_(mp.ones(3)), ValueError, r"shape \(3,\) into shape \(2,\)"),
    ],
)  # fmt: skip
def test_complaints(call: Any, error: Any, complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        call()


def public_operations() -> list[str]:
    """Every public operation that takes a tensor first; einsum takes an equation."""
    makers = (
        "arange einsum eye from_numpy full linspace ones rand randint randn randperm tensor zeros"
    ).split()
    return [name for name in mp.ops.__all__ if name not in makers]


@pytest.mark.parametrize("name", public_operations())
def test_every_operation_says_what_it_takes(name: str) -> None:
    """A word in the place of each tensor, and numbers in the place of whatever else is needed."""
    function = getattr(mp.ops, name)
    needed = [
        0 if str(p.annotation).startswith(("int", "DType", "Lengths")) else "word"
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    ]
    with pytest.raises(TypeError, match=r"(was|were) given .*(tensor|array)"):
        function(*needed)
