from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymp.devices import get_device
from tinymp.formats import (
    DTYPES,
    bfloat16,
    bool_,
    decode,
    encode,
    float8_e4m3fn,
    float16,
    float32,
    float64,
    int64,
    pack,
    unpack,
)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.name)
def test_what_is_stored_already_is_not_copied(dtype):
    values = np.ones(3, dtype.storage)
    if dtype.storage.kind in "fib":
        assert pack(values, dtype) is values
    if dtype in (float32, float64, int64, bool_):
        compute = dtype.storage if dtype.is_float else np.float32
        assert unpack(values, dtype, compute) is values


def test_packing_is_encoding_in_the_storage_type(device, narrow):
    on = get_device(device)
    values = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    for mode in ("toward_zero", "nearest_even"):
        storage = on.to_numpy(pack(on.asarray(values), narrow, mode))
        assert storage.dtype == narrow.storage
        np.testing.assert_array_equal(storage.view(narrow.words), encode(values, narrow, mode))


def test_the_format_has_a_default_mode():
    values = np.array([1 + 2.0**-7 - 2.0**-20], np.float32)
    assert pack(values, bfloat16).tolist() == [0x3F80]
    assert pack(values, float16).tolist() == [1 + 2.0**-7]


@pytest.mark.parametrize("compute", [np.float32, np.float64])
def test_unpacking_is_exact(device, narrow, oracle, compute):
    on = get_device(device)
    theirs = oracle(narrow)
    values = on.to_numpy(unpack(on.asarray(theirs.words.view(narrow.storage)), narrow, compute))
    assert values.dtype == compute
    np.testing.assert_array_equal(values, theirs.values)


def test_float32_widens_and_float64_narrows_once():
    values = np.array([1.5, 1 + 2.0**-24, 1e300])
    assert unpack(values[:1].astype(np.float32), float32, np.float64).dtype == np.float64
    assert pack(values, float32).tolist() == [1.5, 1.0, np.inf]
    assert pack(np.float32([1.5]), float64).dtype == np.float64


def test_integers_and_booleans_pass():
    for storage, dtype in ((np.arange(3), int64), (np.array([True, False]), bool_)):
        assert unpack(storage, dtype) is storage
    assert pack(np.array([2.7, -2.7, 0.0]), int64).tolist() == [2, -2, 0]
    assert pack(np.array([2.7, 0.0]), bool_).tolist() == [True, False]
    assert pack(np.array([np.nan], np.float32), int64).dtype == np.int64  # without a warning


def test_integers_are_rounded_once(device, narrow, oracle):
    on = get_device(device)
    rng = np.random.default_rng(0)
    integers = rng.integers(-(1 << 63), 1 << 63, 1000) >> rng.integers(0, 63, 1000)
    packed = on.to_numpy(pack(on.asarray(integers), narrow, "nearest_even"))
    expected = oracle(narrow).round(integers.astype(np.float64), "nearest_even")
    np.testing.assert_array_equal(packed.view(narrow.words), expected)
    assert pack(np.array([True, False]), narrow).view(narrow.words).tolist()[1] == 0


def test_large_integers_do_not_round_through_float64():
    # A midpoint of float32 plus one, which float64 cannot hold and would make a tie to even.
    above = (1 << 60) + (1 << 36) + 1
    assert float(above) == float(above - 1)
    for sign in (1, -1):
        assert pack(np.array([sign * above]), float32)[0] == sign * ((1 << 60) + (1 << 37))
        assert pack(np.array([sign * (above - 1)]), float32)[0] == sign * (1 << 60)
        assert pack(np.array([sign * ((1 << 60) - 1)]), float32, "toward_zero")[0] == sign * (
            (1 << 60) - (1 << 36)
        )


def test_saturation():
    values = np.array([1e9, -np.inf], np.float32)
    assert pack(values, float16, saturate=True).tolist() == [65504.0, -65504.0]


@given(
    axes=st.permutations(range(4)),
    steps=st.tuples(*[st.sampled_from([1, 2, -1, -2])] * 4),
    repeated=st.booleans(),
    dtype=st.sampled_from([float16, bfloat16, float8_e4m3fn]),
)
def test_any_layout_is_followed(axes, steps, repeated, dtype):
    """Turned, cut, mirrored and repeated arrays: each element stays in its place."""
    values = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5).transpose(axes)
    values = values[tuple(slice(None, None, step) for step in steps)]
    if repeated:
        values = np.broadcast_to(values[:1], (3, *values.shape[1:]))
    plain = np.ascontiguousarray(values)
    words = encode(values, dtype, "nearest_even")
    np.testing.assert_array_equal(words, encode(plain, dtype, "nearest_even"))
    turned = words.transpose(1, 3, 0, 2)
    np.testing.assert_array_equal(decode(turned, dtype), decode(turned.copy(), dtype))


def test_a_turned_matrix_keeps_its_layout():
    """What was stored transposed is decoded in the order of its memory, and not copied first."""
    storage = pack(np.ones((300, 200), np.float32).T, float16)
    assert storage.T.flags.c_contiguous
    assert unpack(storage, float16).T.flags.c_contiguous


@pytest.mark.parametrize("shape", [(), 3, 200, 3000, 20_000])
@pytest.mark.parametrize("mode", ["toward_zero", "nearest_even"])
def test_what_is_packed_owns_its_memory(narrow, mode, shape):
    storage = pack(np.ones(shape, np.float32), narrow, mode)
    assert storage.dtype == narrow.storage
    assert storage.base is None
    assert unpack(storage, narrow).base is None
