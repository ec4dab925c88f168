"""Running out of memory on a real GPU."""

from __future__ import annotations

import pytest

import tinymp as mp
from tinymp.devices import get_device
from tinymp.devices.memory import OutOfDeviceMemory

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_more_than_the_gpu_has_is_explained(device):
    cupy = get_device(device).xp
    _, total = cupy.cuda.runtime.memGetInfo()
    with pytest.raises(OutOfDeviceMemory, match=r"out of memory on cuda:0: .*\(microbatches\)"):
        mp.zeros(total // 4, 2, device=device)
    assert mp.ones(3, device=device).sum().item() == 3  # and all goes on
