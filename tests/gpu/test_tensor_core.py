"""The model of Hopper's tensor cores against cuBLAS on real ones: fresh seeds, every bit."""

from __future__ import annotations

from secrets import randbits

import numpy as np
import pytest

from tinymp.devices import get_device
from tinymp.formats import bfloat16, encode, float16
from tinymp.numerics import tensor_core_matmul
from tinymp.numerics.order import parts_of
from tinymp.numerics.tensor_core import parts

pytestmark = pytest.mark.gpu

REGIMES = [
    "normal", "uniform", "wide", "cancel", "subnormal_in", "subnormal_out", "overflow", "special",
    "any",
]  # fmt: skip


@pytest.fixture(scope="module")
def hopper():
    try:
        gpu = get_device("cuda")
    except RuntimeError as missing:
        pytest.skip(str(missing))
    import cupy

    if not cupy.cuda.Device().compute_capability.startswith("9"):
        pytest.skip("the model that is checked is that of compute capability 9.0")
    return gpu


@pytest.fixture(params=[float16, bfloat16], ids=lambda dtype: dtype.name)
def dtype(request):
    return request.param


def operand(rng, shape, dtype, regime, left=True):
    """Words of one regime, for the left or the right factor."""
    if regime == "any":
        return rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    x = rng.random(shape) if regime == "uniform" else rng.standard_normal(shape)
    if regime == "wide":
        x *= np.exp2(rng.integers(dtype.emin // 2, dtype.emax // 2, shape))
    elif regime == "cancel":  # every product meets its negative, but for a few
        x = np.where(np.arange(shape[1]) % 2, 1, -1) * np.round(4 * x) + (rng.random(shape) < 0.01)
    elif regime == "subnormal_in":  # times large ones: results of a middling size
        x *= 2.0 ** (dtype.emin - 2 if left else dtype.emax - 3)
    elif regime == "subnormal_out":  # where the format's products reach so far down
        x *= 2.0 ** max(dtype.emin - 2, -70)
    elif regime == "overflow":  # of about half the sums, where the format's reach so far up
        x *= 2.0 ** (min(dtype.emax, 64) - 2)
    words = encode(x, dtype, "nearest_even")
    if regime == "special":
        rare = rng.random(shape)
        infinity = np.uint16(dtype.exponent_mask)
        words = np.where(rare < 0.001, infinity | words & dtype.sign_mask, words)
        words = np.where(rare > 0.9995, rng.integers(0, 1 << 16, shape, dtype=np.uint16), words)
        words = np.where((rare > 0.5) & (rare < 0.6), words & dtype.sign_mask, words)
    return words.astype(np.uint16)


def check(gpu, dtype, m, n, k, regime, sample=None):
    """Compare every output, or those of some rows and columns; returns how many were compared."""
    seed = randbits(32)
    rng = np.random.default_rng(seed)
    if regime == "any":
        k = 6  # of more terms, nearly every sum is NaN
    a, b = operand(rng, (m, k), dtype, regime), operand(rng, (k, n), dtype, regime, left=False)
    stored = (gpu.asarray(x.view(dtype.storage)) for x in (a, b))
    theirs = gpu.to_numpy(gpu.matmul_words(*stored, dtype))
    if sample is not None:
        rows, columns = rng.choice(m, sample, False), rng.choice(n, sample, False)
        a, b, theirs = a[rows], b[:, columns], theirs[np.ix_(rows, columns)]
    ours = tensor_core_matmul(a, b, dtype)
    wrong = ours.view(np.uint32) != np.ascontiguousarray(theirs).view(np.uint32)
    assert not wrong.any(), f"seed {seed}: {wrong.sum()} of {wrong.size} differ, {regime}"
    return wrong.size


@pytest.mark.parametrize("regime", REGIMES)
def test_a_million_outputs_in_all(hopper, dtype, regime):
    compared = check(hopper, dtype, 512, 512, 64, regime)
    compared += check(hopper, dtype, 64, 64, 1024, regime)
    compared += check(hopper, dtype, 256, 256, 16, regime)
    assert compared * len(REGIMES) >= 1_000_000


@pytest.mark.parametrize("regime", ["normal", "wide", "cancel"])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1024, 1024, 1024), (4096, 4096, 4096), (8192, 768, 768), (768, 3072, 8192), (1, 1000, 512)],
)
def test_large_products_are_plain_chains(hopper, dtype, m, n, k, regime):
    check(hopper, dtype, m, n, k, regime, sample=min(m, 64))


# Small outputs beside long inner dimensions, as gradients of weights have them.
SPLIT = [
    (64, 64, 2048), (64, 64, 4096), (64, 64, 8192), (64, 64, 16384), (128, 128, 4096),
    (256, 256, 4096), (256, 256, 8192), (512, 512, 8192), (16, 16, 4096), (1, 1000, 4096),
    (128, 16, 1440), (64, 1024, 8192),
]  # fmt: skip


@pytest.mark.parametrize(("m", "n", "k"), SPLIT)
def test_split_products_are_chains_added_in_order(hopper, dtype, m, n, k):
    """How long the parts are is asked of cuBLAS itself; the rest is the model's."""

    def multiply(a, b):
        stored = (hopper.asarray(np.ascontiguousarray(x).view(dtype.storage)) for x in (a, b))
        return hopper.to_numpy(hopper.matmul_words(*stored, dtype))

    found = parts_of(multiply, m, n, k, dtype)
    length = found[0].stop
    print(f"\n{dtype.name} {m}×{n}×{k}: {len(found)} parts of {length}")
    assert found == parts(k, length)
    seed = randbits(32)
    rng = np.random.default_rng(seed)
    for regime in ("normal", "wide", "cancel", "special"):
        a, b = operand(rng, (m, k), dtype, regime), operand(rng, (k, n), dtype, regime, left=False)
        rows, columns = (rng.choice(x, min(x, 64), False) for x in (m, n))
        theirs = np.ascontiguousarray(multiply(a, b)[np.ix_(rows, columns)])
        ours = tensor_core_matmul(a[rows], b[:, columns], dtype, part=length)
        nan = np.isnan(theirs)  # what a sum of parts makes of NaN is an ordinary addition's
        same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (nan & np.isnan(ours))
        assert same.all(), f"seed {seed}: {(~same).sum()} of {same.size} differ, {regime}"


def test_the_model_runs_on_the_gpu_too(hopper, dtype):
    rng = np.random.default_rng(0)
    a, b = operand(rng, (70, 48), dtype, "any"), operand(rng, (48, 70), dtype, "any")
    there = tensor_core_matmul(hopper.asarray(a), hopper.asarray(b), dtype)
    ours = tensor_core_matmul(a, b, dtype)
    np.testing.assert_array_equal(hopper.to_numpy(there).view(np.uint32), ours.view(np.uint32))
