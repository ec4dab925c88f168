"""Einstein's summation: products summed over the labels that do not appear in the result."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod

from tinymp.autograd import Tensor
from tinymp.ops.dims import check_tensors
from tinymp.ops.linear_algebra import matmul
from tinymp.ops.rearrange import diagonal
from tinymp.ops.reductions import sum
from tinymp.ops.shape import expand, permute, reshape

#: A letter, or, for the dimensions of an ellipsis, their numbers from the right: "-2", "-1".
Labels = tuple[str, ...]


def einsum(equation: str, *operands: Tensor | Sequence[Tensor]) -> Tensor:
    """Sum of products named by labels: `einsum("bij,bjk->bik", x, y)` is a stack of products.

    Each operand has a term of letters, one for each dimension. A letter that several terms share
    is multiplied along; one that the result lacks is summed over; one that stands twice in a term
    takes the diagonal. `...` stands for the dimensions without letters, which broadcast. Without
    `->` the result has the ellipsis and then, in alphabetical order, the letters that occur once.

    Two operands at a time meet in one matrix product, from left to right. So float16 and bfloat16
    are accumulated in float32, and rounded after each product.

    Raises:
        ValueError: a malformed equation, or lengths that do not fit.
    """
    tensors: list[Tensor] = []
    for given in operands:
        tensors += [given] if isinstance(given, Tensor) else given
    check_tensors("einsum", *tensors)
    terms, result = _parsed(equation, tensors)
    length: dict[str, int] = {}
    for term, x in zip(terms, tensors, strict=True):
        for label, n in zip(term, x.shape, strict=True):
            if length.setdefault(label, n) == 1:
                length[label] = n
            elif n not in (1, length[label]):
                raise ValueError(
                    f"einsum {equation!r} was given lengths {length[label]} and {n} for "
                    + (f"{label!r}" if label.isalpha() else "a dimension of the ellipsis")
                    + "; they must be equal, or 1"
                )

    total, labels = _without_repeats(tensors[0], terms[0])
    for i, (term, x) in enumerate(zip(terms[1:], tensors[1:], strict=True), start=2):
        wanted = {*result, *(label for later in terms[i:] for label in later)}
        other, other_labels = _without_repeats(x, term)
        total, labels = _product(total, labels, other, other_labels, wanted, length)
    total, labels = _summed(total, labels, set(result))
    return permute(total, tuple(labels.index(label) for label in result))


def _parsed(equation: str, tensors: list[Tensor]) -> tuple[list[Labels], Labels]:
    """Labels of each operand and of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if not all(re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", text) for text in (*texts, right)):
        raise ValueError(
            f"einsum was given {equation!r}; an equation is terms of letters, with at most one ... "
            "each, as in 'bij,bjk->bik'"
        )
    if len(texts) != len(tensors):
        raise ValueError(
            f"einsum {equation!r} has {len(texts)} terms but was given {len(tensors)} operands; it "
            "takes one for each term"
        )
    terms = []
    for text, x in zip(texts, tensors, strict=True):
        letters = text.replace("...", "")
        unnamed = x.ndim - len(letters)
        if unnamed < 0 or (unnamed and "..." not in text):
            raise ValueError(
                f"einsum {equation!r} was given a tensor of shape {x.shape} for the term {text!r}; "
                "give a letter for each dimension, or ... for those without"
            )
        terms.append(_labels(text, unnamed))
    used = [label for term in terms for label in term]
    most = max(len([label for label in term if not label.isalpha()]) for term in terms)
    if not arrow:
        once = sorted(label for label in used if label.isalpha() and used.count(label) == 1)
        return terms, _labels("..." + "".join(once), most)
    result = _labels(right, most)
    for label in result:
        if label not in used or result.count(label) > 1:
            raise ValueError(
                f"einsum {equation!r}: {label!r} must be in the result once, and in an operand"
            )
    return terms, result


def _labels(text: str, unnamed: int) -> Labels:
    before, dots, after = text.partition("...")
    between = tuple(str(i - unnamed) for i in range(unnamed)) if dots else ()
    return (*before, *between, *after)


def _without_repeats(x: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """The diagonal along dimensions of the same label, which becomes the last."""
    for label in labels:
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            x = diagonal(x, 0, first, second)
            rest = (name for i, name in enumerate(labels) if i not in (first, second))
            labels = (*rest, label)
    return x, labels


def _summed(x: Tensor, labels: Labels, wanted: set[str]) -> tuple[Tensor, Labels]:
    """`x` summed over the labels that nobody wants."""
    dims = tuple(i for i, label in enumerate(labels) if label not in wanted)
    if not dims:
        return x, labels
    return sum(x, dims), tuple(label for label in labels if label in wanted)


def _product(
    x: Tensor,
    x_labels: Labels,
    y: Tensor,
    y_labels: Labels,
    wanted: set[str],
    length: dict[str, int],
) -> tuple[Tensor, Labels]:
    """Two operands multiplied, and summed over the labels that nobody else wants."""
    x, x_labels = _summed(x, x_labels, wanted | set(y_labels))
    y, y_labels = _summed(y, y_labels, wanted | set(x_labels))
    both = [label for label in x_labels if label in y_labels]
    stack = [label for label in both if label in wanted]
    inner = [label for label in both if label not in wanted]
    rows = [label for label in x_labels if label not in both]
    columns = [label for label in y_labels if label not in both]

    def matrices(z: Tensor, labels: Labels, *groups: list[str]) -> Tensor:
        z = permute(z, tuple(labels.index(label) for group in groups for label in group))
        z = expand(z, [length[label] for group in groups for label in group])
        return reshape(z, [prod(length[label] for label in group) for group in groups])

    product = matmul(
        matrices(x, x_labels, stack, rows, inner), matrices(y, y_labels, stack, inner, columns)
    )
    labels = (*stack, *rows, *columns)
    return reshape(product, [length[label] for label in labels]), labels
