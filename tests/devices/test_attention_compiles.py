"""The attention kernels compile for the GPUs that they are meant for, and fit into them."""

from __future__ import annotations

import pytest

from tinymp.devices.kernels.attention_tilings import KINDS, shared_bytes, source, tiling
from tinymp.devices.kernels.compiler import KernelError, compile_to_binary
from tinymp.formats import bfloat16, float16

HEADS = [32, 40, 64, 128]
#: Compute capability, what to compile for, and the shared memory that a block may have: the least
#: of all from 8.0 on that lack wgmma (8.6, 8.9, 12.0), and that of 9.0.
GPUS = [(80, "sm_80", 99 * 1024), (90, "sm_90a", 227 * 1024)]


@pytest.fixture(scope="module")
def compiler():
    try:
        compile_to_binary("empty", 'extern "C" __global__ void empty() {}', "sm_90")
    except KernelError as missing:
        pytest.skip(str(missing))
    return compile_to_binary


@pytest.mark.parametrize(("capability", "architecture", "_"), GPUS)
@pytest.mark.parametrize("name", KINDS)
def test_a_use_of_each_kernel_compiles(compiler, name, capability, architecture, _):
    how = tiling(name, 64, capability)
    assert compiler(name, source(name, float16, "nearest_even", 64, how), architecture)


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "architecture", "_"), GPUS)
@pytest.mark.parametrize("name", KINDS)
def test_every_use_of_a_kernel_compiles(compiler, name, capability, architecture, _):
    for head in HEADS:
        how = tiling(name, head, capability)
        for dtype in (float16, bfloat16):
            for mode in ("nearest_even", "toward_zero"):
                assert compiler(name, source(name, dtype, mode, head, how), architecture)


@pytest.mark.parametrize(("capability", "_", "shared"), GPUS)
@pytest.mark.parametrize("head", HEADS)
def test_blocks_fit_into_shared_memory(head, capability, _, shared):
    for name in KINDS:
        assert shared_bytes(name, head, tiling(name, head, capability)) <= shared


@pytest.mark.parametrize(("capability", "_", "__"), GPUS)
@pytest.mark.parametrize("head", HEADS)
def test_each_tile_of_queries_has_its_summaries(head, capability, _, __):
    written = tiling("attention_query_gradient", head, capability).rows
    read = tiling("attention_key_gradient", head, capability).tile
    assert written % read == 0
