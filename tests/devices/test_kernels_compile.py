"""Every kernel compiles for the GPUs that it is meant for; NVRTC needs none of them."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest

from tinymp.devices.kernels import (
    adam,
    casts,
    columns,
    cross_entropy,
    cross_entropy_gradient,
    dropout,
    embedding,
    embedding_gradient,
    gradient_check,
    layer_norm,
    layer_norm_gradient,
    loss_scale,
    sgd,
    softmax,
    softmax_gradient,
    stepping,
    sums,
)
from tinymp.devices.kernels.compiler import KernelError, compile_to_binary
from tinymp.devices.kernels.template import filled
from tinymp.devices.kernels.tensor_lists import TensorLists, most_tensors
from tinymp.formats import bfloat16, float8_e4m3fn, float16, float32

ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]


@pytest.fixture(scope="module")
def compiler():
    try:
        compile_to_binary("empty", 'extern "C" __global__ void empty() {}', "sm_90")
    except KernelError as missing:
        pytest.skip(str(missing))
    return compile_to_binary


def row(threads, pieces, elements):
    return {"threads": threads, "pieces": pieces, "elements": elements}


def norm(dtype, **rest):
    return {"X": dtype, "Weight": float32, "Bias": dtype, "Out": dtype, "centered": True, **rest}


def norm_gradient(dtype, **rest):
    wants = {"sums_weight": True, "sums_bias": True, "centered": True, "weighted": True}
    wants |= {"depth": 2, "fills_row": rest["elements"] > 1}
    return {"G": dtype, "X": dtype, "Weight": float32, "Dx": dtype, **wants, **rest}


def lists(roles, chunk):
    return {"roles": roles, "most": most_tensors(roles), "chunk": chunk}


TYPES = "typedef {} Value; typedef {} Random;\n"
NARROW = [(float16, "nearest_even"), (bfloat16, "toward_zero"), (bfloat16, "nearest_even")]
BOTH = [True, False]

KERNELS = [
    *[
        ("layer_norm", layer_norm.SOURCE, norm(d, mode=m, weighted=w, biased=w, **layout))
        for (d, m), w, layout in product(NARROW, BOTH, [row(32, 3, 8), row(512, 16, 8)])
    ],
    ("layer_norm", layer_norm.SOURCE, norm(float32, mode="nearest_even", weighted=True, biased=True)
     | row(64, 3, 4)),
    *[
        ("layer_norm_gradient", layer_norm_gradient.SOURCE,
         norm_gradient(d, mode=m, groups=groups, **row(*layout)))
        for (d, m), (groups, *layout) in product(
            NARROW, [(8, 96, 1, 8), (2, 384, 1, 8), (1, 512, 4, 1)]
        )
    ],
    *[
        ("softmax", softmax.SOURCE,
         {"X": d, "Out": d, "mode": m, "causal": c, "scaled": c, "logarithm": not c}
         | row(t, p, 8))
        for (d, m), c, (t, p) in product(NARROW, BOTH, [(32, 4), (512, 13)])
    ],
    *[
        ("softmax_gradient", softmax_gradient.SOURCE,
         {"G": d, "Y": d, "Dx": d, "mode": m, "logarithm": c, **row(32, 4, 8)})
        for (d, m), c in product(NARROW, BOTH)
    ],
    *[
        ("cross_entropy", cross_entropy.SOURCE,
         {"X": d, "Out": float32, "mode": m, "threads": t, "ignores": True})
        for (d, m), t in product(NARROW, [32, 256])
    ],
    ("reduced", cross_entropy.REDUCED,
     {"Out": float32, "mode": "nearest_even", "average": True, "ignores": True}),
    *[
        ("cross_entropy_gradient", cross_entropy_gradient.SOURCE,
         {"G": float32, "X": d, "Dx": d, "mode": m, "each": False, "average": True,
          "ignores": False, "threads": t})
        for (d, m), t in product(NARROW, [32, 256])
    ],
    *[("embedding", embedding.SOURCE, {"unit": unit}) for unit in (1, 2, 4, 8, 16)],
    ("sort_tokens", embedding_gradient.SORT, {}),
    *[
        ("embedding_gradient", embedding_gradient.SOURCE,
         {"G": d, "Dw": d, "mode": m, "elements": e, "batch": 4})
        for (d, m), e in product(NARROW, [8, 1])
    ],
    *[
        ("dropout", dropout.SOURCE, {"X": d, "Out": d, "mode": m, "moderate": d is float16})
        for d, m in NARROW
    ],
    *[
        (name, source, {"X": d, "Out": d, "mode": m, "elements": 8, "threads": 256})
        for name, source in (
            ("sum_columns", sums.COLUMNS), ("sum_rows", sums.ROW_SUMS), ("sum_all", sums.ALL)
        )
        for d, m in NARROW
    ],
    *[
        ("column_totals", columns.SOURCE, {"Out": d, "mode": m, "parts": 32, "batch": 5})
        for d, m in NARROW
    ],
    *[
        ("encode_words", TYPES.format(value, random) + casts.ENCODE,
         {"Out": d, "mode": m, "saturate": s, "wide": value == "double" or random == "uint64"})
        for d, (m, random), value, s in product(
            (float16, bfloat16, float8_e4m3fn),
            [("toward_zero", "uint32"), ("nearest_even", "uint32"), ("stochastic", "uint64"),
             ("stochastic", "uint16")],
            ("float", "double"),
            BOTH,
        )
    ],
    *[
        ("encode_drawn", f"typedef {value} Value;\n" + casts.ENCODE_DRAWN,
         {"Out": d, "mode": "stochastic", "saturate": s, "wide": value == "double"})
        for d, value, s in product((float16, bfloat16, float8_e4m3fn), ("float", "double"), BOTH)
    ],
    *[("decode_words", casts.DECODE, {"In": d}) for d in (float16, bfloat16, float8_e4m3fn)],
    *[("check_chunks", gradient_check.OF_CHUNKS, {"G": d, **lists(1, 16384)})
      for d in (float16, bfloat16, float32)],
    ("check_totals", gradient_check.OF_ALL, {}),
    ("next_step", stepping.SOURCE, {"checked": True, "scaled": True, "skips": True}),
    ("next_scale", loss_scale.SOURCE, {}),
    *[
        ("adam", adam.SOURCE,
         {"G": d, "Copy": d, "mode": m, "copied": c, "decays": True, "decoupled": c,
          **lists(adam.ROLES, 4096)})
        for (d, m), c in product(NARROW, BOTH)
    ],
    *[
        ("sgd", sgd.SOURCE,
         {"G": d, "Copy": d, "mode": m, "copied": True, "buffered": b, "decays": True,
          "nesterov": b, **lists(sgd.ROLES, 4096)})
        for (d, m), b in product(NARROW, BOTH)
    ],
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", sorted({name for name, _, _ in KERNELS}))
def test_every_use_of_a_kernel_compiles(compiler, name, architecture):
    for kernel, source, settings in KERNELS:
        if kernel == name:
            assert compiler(name, filled(source, **settings), architecture)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in KERNELS}))
def test_a_use_of_each_kernel_compiles(compiler, name):
    source, settings = next((s, t) for kernel, s, t in KERNELS if kernel == name)
    assert compiler(name, filled(source, **settings), "sm_90")


def test_lists_of_tensors_fit_into_a_kernels_parameters_with_room_for_others():
    for roles in (1, adam.ROLES, sgd.ROLES):
        lists = TensorLists([5], roles, 4)
        ((parameter, _),) = lists.launches()
        assert parameter.nbytes <= 4096 - 128
        before = parameter.tobytes()
        lists.point(0, [SimpleNamespace(data=SimpleNamespace(ptr=0x0102030405060708))])
        assert parameter.tobytes()[:8] == bytes(range(8, 0, -1))  # the same memory, as bytes
        assert parameter.tobytes()[8:] == before[8:]
