"""`--device auto`: the GPU where there is one."""

from __future__ import annotations

from rich.console import Console


def chosen_device(name: str, screen: Console) -> str:
    """The device of this name; for "auto" the one that is there, and `screen` is told which."""
    if name != "auto":
        return name
    from tinymp.devices import get_device

    try:
        gpu = get_device("cuda")
    except RuntimeError as missing:
        reason = str(missing).splitlines()[0]
        screen.print(f"On the CPU: {reason}", markup=False, soft_wrap=True)
        return "cpu"
    about = gpu.xp.cuda.runtime.getDeviceProperties(0)
    screen.print(f"On the GPU {gpu.name}, {about['name'].decode()}", markup=False)
    return "cuda"
