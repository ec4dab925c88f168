"""Where arrays live: the CPU (NumPy) and NVIDIA GPUs (CuPy), each with one small face."""

from __future__ import annotations

from tinymp.devices.base import Device
from tinymp.devices.gemm import get_float32_matmul_precision, set_float32_matmul_precision
from tinymp.devices.lookup import device_of, get_device
from tinymp.devices.random import (
    Generator,
    default_generator,
    get_rng_state,
    manual_seed,
    normal,
    random_words,
    set_rng_state,
    uniform,
)

__all__ = [
    "Device",
    "Generator",
    "default_generator",
    "device_of",
    "get_device",
    "get_float32_matmul_precision",
    "get_rng_state",
    "manual_seed",
    "normal",
    "random_words",
    "set_float32_matmul_precision",
    "set_rng_state",
    "uniform",
]
