"""Accumulators that add in a stated order, and round every partial sum to a format."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinymp.devices import device_of
from tinymp.formats import DType, dtype_of
from tinymp.numerics import summation
from tinymp.numerics.accumulators import Accumulator
from tinymp.numerics.summation import Adder, Products, Terms

Array = Any


@dataclass(frozen=True, eq=False)
class Ordered(Accumulator):
    """Terms are added in a stated order, and every partial sum is rounded to a format.

    The products of a matrix product are computed in the values' type first: that is exact for
    2-byte operands, barring over- and underflow of float32.

    Attributes:
        dtype: the format of partial sums; None for that of the values.
        rounding: the rounding mode; None for the format's default.
    """

    dtype: DType | None = None
    rounding: str | None = None

    @abstractmethod
    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        """The sum of the terms, in this accumulator's order."""

    def held_in(self, compute: DType) -> DType:
        return self.dtype or compute

    def _adder(self, like: Array) -> Adder:
        dtype = self.held_in(dtype_of(like.dtype))
        return summation.adder(dtype, self.rounding or dtype.default_rounding)

    def cumsum(self, x: Array, axis: int) -> Array:
        """One value after the other, whatever the order of sums: each partial sum is a result."""
        if x.dtype.kind != "f":
            return x.cumsum(axis=axis)
        with np.errstate(all="ignore"):
            return summation.running(self._adder(x), x, axis)

    def _accumulate(self, terms: Terms, shape: tuple[int, ...], like: Array) -> Array:
        add = self._adder(like)
        zero = device_of(like).xp.zeros(shape, like.dtype)
        with np.errstate(all="ignore"):
            return self.fold(add, terms, zero).astype(like.dtype, copy=False)

    def sum(
        self, x: Array, axis: int | tuple[int, ...] | None = None, keepdims: bool = False
    ) -> Array:
        if x.dtype.kind != "f":
            return x.sum(axis=axis, keepdims=keepdims)
        terms, shape = summation.terms_along(x, axis, keepdims)
        return self._accumulate(terms, terms.shape[1:], x).reshape(shape)

    def matmul(self, x: Array, y: Array) -> Array:
        stack = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        return self._accumulate(Products(x, y), (*stack, x.shape[-2], y.shape[-1]), x)


class Sequential(Ordered):
    """One term after the other."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.sequential(add, terms, zero)


@dataclass(frozen=True, eq=False)
class Chunked(Ordered):
    """Chunks of `size` terms are summed, then their sums."""

    size: int = 64

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.chunked(add, terms, zero, self.size)


class Pairwise(Ordered):
    """Halves, each summed by halves."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.pairwise(add, terms, zero)


class Kahan(Ordered):
    """Sequential, with what each addition lost given to the next."""

    def fold(self, add: Adder, terms: Terms, zero: Array) -> Array:
        return summation.kahan(add, terms, zero)
