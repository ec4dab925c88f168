"""Running out of a GPU's memory, with a stand-in for CuPy; `tests/gpu/test_memory.py` has a GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinymp.devices.memory import OutOfDeviceMemory, explain_failures

GIB = 2**30


class OutOfMemoryError(MemoryError):
    pass


def cupy_with_room_for(room):
    """CuPy on a GPU of 16 GiB, where arrays of up to `room` bytes find a place."""

    def malloc(size):
        if size > room:
            raise OutOfMemoryError("Out of memory allocating bytes")
        return f"{size} bytes"

    state = {"allocator": malloc}
    return SimpleNamespace(
        get_default_memory_pool=lambda: SimpleNamespace(
            used_bytes=lambda: 12 * GIB, total_bytes=lambda: 14 * GIB
        ),
        cuda=SimpleNamespace(
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(memGetInfo=lambda: (GIB, 16 * GIB), getDevice=lambda: 0),
            get_allocator=lambda: state["allocator"],
            set_allocator=lambda allocator: state.update(allocator=allocator),
        ),
    )


def test_a_failure_says_what_was_asked_held_and_free_and_what_to_try():
    cupy = cupy_with_room_for(2 * GIB)
    explain_failures(cupy)
    with pytest.raises(OutOfDeviceMemory) as caught:
        cupy.cuda.get_allocator()(3 * GIB)
    assert str(caught.value).startswith(
        "out of memory on cuda:0: 3.00 GiB were asked for, but of 16.00 GiB only 1.00 GiB are "
        "free; this process holds 14.00 GiB, of which 12.00 GiB are in use"
    )
    for advice in ("smaller batch", "microbatches", "fp16", "mp.checkpoint"):
        assert advice in str(caught.value)
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value.__cause__, OutOfMemoryError)


def test_what_finds_room_is_allocated_as_before():
    cupy = cupy_with_room_for(GIB)
    explain_failures(cupy)
    assert cupy.cuda.get_allocator()(GIB) == "1073741824 bytes"


def test_explaining_twice_changes_nothing():
    cupy = cupy_with_room_for(GIB)
    explain_failures(cupy)
    once = cupy.cuda.get_allocator()
    explain_failures(cupy)
    assert cupy.cuda.get_allocator() is once
