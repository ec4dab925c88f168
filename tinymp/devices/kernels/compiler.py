"""From CUDA C++ to a kernel that can be launched: NVRTC, without the shortcuts that change bits.

CuPy's own compilation appends `-ftz=true`, which takes float32 subnormals for zero. Here NVRTC is
called directly, so a kernel keeps them; and no product and sum are contracted to one operation
unless a kernel says `fmaf`, so + - × ÷ √ give the bits that NumPy gives. Where there are no such
bits to keep, a kernel may ask for contraction.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

_OPTIONS = (
    "--std=c++17",
    "--ftz=false",
    "--prec-sqrt=true",
    "--device-as-default-execution-space",
)
# Contracted: one rounding for a product and the sum it goes to, and quotients to 2 ulps.
_CONTRACTION = {
    False: ("--fmad=false", "--prec-div=true"),
    True: ("--fmad=true", "--prec-div=false"),
}


class KernelError(RuntimeError):
    """A kernel that CUDA's compiler refused, or that cannot be compiled here."""


def compile_to_binary(name: str, source: str, architecture: str, contracted: bool = False) -> bytes:
    """Machine code of a CUDA C++ `source` for an architecture such as `"sm_90"`.

    Needs no GPU, so that kernels can be checked wherever CuPy is installed.

    Raises:
        KernelError: the compiler's complaints, with the kernel's `name`.
    """
    try:
        from cupy_backends.cuda.libs import nvrtc
    except ImportError as error:
        raise KernelError(f"the kernel {name!r} needs CuPy and CUDA's compiler: {error}") from error
    options = (*_OPTIONS, *_CONTRACTION[contracted], f"--gpu-architecture={architecture}")
    try:
        program = nvrtc.createProgram(source, f"{name}.cu", [], [])
    except (OSError, RuntimeError) as error:  # libnvrtc itself is missing
        raise KernelError(f"the kernel {name!r} needs CUDA's compiler: {error}") from error
    try:
        nvrtc.compileProgram(program, options)
        return bytes(nvrtc.getCUBIN(program))
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise KernelError(f"the kernel {name!r} does not compile:\n{log}") from error
    finally:
        nvrtc.destroyProgram(program)


def architecture_of(capability: str) -> str:
    """The compiler's name of a GPU's architecture, by its compute capability, `"90"` for 9.0.

    From Hopper on the tensor cores' newest instructions belong to one architecture alone, whose
    name ends in `a`.
    """
    return f"sm_{capability}a" if int(capability) >= 90 else f"sm_{capability}"


@cache
def _module(name: str, source: str, contracted: bool, device: int) -> Any:
    import cupy

    architecture = architecture_of(cupy.cuda.Device(device).compute_capability)
    module = cupy.cuda.function.Module()
    module.load(_kept(name, source, architecture, contracted))
    return module


def _kept(name: str, source: str, architecture: str, contracted: bool) -> bytes:
    """The machine code of an earlier process, where CuPy keeps its own; else it is compiled."""
    from cupy_backends.cuda.libs import nvrtc

    options = *_OPTIONS, *_CONTRACTION[contracted]
    made_of = "\0".join([source, architecture, str(nvrtc.getVersion()), *options])
    key = hashlib.sha256(made_of.encode()).hexdigest()[:32]
    folder = os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache"
    file = Path(folder) / f"tinymp_{name}_{key}.cubin"
    try:
        return file.read_bytes()
    except OSError:
        binary = compile_to_binary(name, source, architecture, contracted)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, delete=False) as unfinished:
            unfinished.write(binary)
        Path(unfinished.name).replace(file)
    except OSError:
        pass  # a folder that cannot be written to costs time alone
    return binary


def kernel(name: str, source: str, function: str | None = None, *, contracted: bool = False) -> Any:
    """The kernel `function` (by default `name`) of a CUDA C++ source, on CuPy's current GPU.

    `contracted`: whether products and sums may be contracted, and quotients be off by 2 ulps.

    The result is called as `kernel(grid, block, arguments, shared_mem=bytes)`: grid and block are
    tuples, arguments CuPy arrays and NumPy scalars. It is compiled once a process.

    Raises:
        KernelError: it does not compile.
    """
    import cupy

    return _function(name, source, function or name, contracted, cupy.cuda.runtime.getDevice())


@cache
def _function(name: str, source: str, function: str, contracted: bool, device: int) -> Any:
    return _module(name, source, contracted, device).get_function(function)
