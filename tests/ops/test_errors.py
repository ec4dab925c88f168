"""What an operation does not take, it refuses in one sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinymp as mp

M = mp.ones(2, 3)
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
        (lambda: M.reshape(4), ValueError, r"reshape\(float32.*size 6 into shape \(4,\)"),
        (lambda: M.expand(3, 3), ValueError, r"expand.*\(3, 3\).*\(2, 3\).*length 1"),
        (lambda: M.expand(3), ValueError, r"expand.*\(3,\).*\(2, 3\)"),
        (lambda: M.expand(-1, 2, 3), ValueError, r"expand.*\(-1, 2, 3\)"),
        (lambda: mp.cat([]), ValueError, "cat was given no tensors"),
        (lambda: mp.stack([]), ValueError, "stack was given no tensors"),
        (lambda: mp.cat([M, mp.ones(2, 2)]), ValueError, r"cat\(float32\[2, 3\], float32"),
        (lambda: mp.stack([M, M.T]), ValueError, r"stack\(float32\[2, 3\], float32\[3, 2\]\)"),
        (lambda: M.split([1, 1], dim=1), ValueError, r"\[1, 1\].*add up to 3"),
        (lambda: M.split(0), ValueError, "length 0.*at least 1"),
        (lambda: mp.pad(M, (1,)), ValueError, r"pad.*\(1,\).*pairs"),
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
        (lambda: mp.einsum("i->i", M), ValueError, r"\(2, 3\) for the term 'i'; give a letter"),
        (lambda: mp.einsum("i$->i", M), ValueError, "terms of letters, with at most one"),
        (lambda: mp.einsum("......->i", M), ValueError, "with at most one"),
        (lambda: mp.einsum("ij->ik", M), ValueError, "'k' must be in the result once"),
        (lambda: mp.einsum("ij->ii", M), ValueError, "'i' must be in the result once"),
        (lambda: mp.einsum("ij,ij", M, M.T), ValueError, "lengths 2 and 3 for 'i'.*equal, or 1"),
        (lambda: mp.einsum("...,...", M, M.T), ValueError, "a dimension of the ellipsis"),
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
