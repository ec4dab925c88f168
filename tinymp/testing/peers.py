"""Do other libraries' encoders keep the laws of rounding? A report, where the library is installed.

None of what is found need be a mistake: a library may round in two steps for speed, or saturate on
purpose. It is what a program that relies on it has to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinymp.formats import DType, dtype_of, float16, float32, float64
from tinymp.testing.laws import LAWS, check_encoder
from tinymp.testing.verify import Finding

Array = Any
#: The name of an encoder, its format, and a function of values that returns words.
Peer = tuple[str, DType, Callable[[Array], Array]]


def encoders_of(library: str) -> list[Peer]:
    """The encoders of "ml_dtypes", "numpy" or "torch".

    Raises:
        ValueError: another library.
        RuntimeError: it is not installed.
    """
    if library not in _PEERS:
        raise ValueError(f"no encoders of {library!r} are known, only of {', '.join(_PEERS)}")
    try:
        return _PEERS[library]()
    except ModuleNotFoundError as missing:
        raise RuntimeError(
            f"the encoders of {library} cannot be tried: {missing.name} is not installed; install "
            f"it with: pip install {missing.name}"
        ) from None


def verify_peers(peers: Iterable[Peer], seed: int = 0) -> Iterator[Finding]:
    """Put encoders through every law, to nearest, from float32 and from float64.

    `seed`: which values are tried.
    """
    laws = sum("nearest_even" in modes for _, modes in LAWS.values())
    for name, dtype, encoder in peers:
        for source in (float32, float64):
            if source is dtype:
                continue
            broken = check_encoder(encoder, dtype, source=source, seeds=range(seed, seed + 10))
            yield Finding(
                f"{name} from {source.name}",
                f"{laws - len(broken)} of {laws} laws of rounding",
                10_000,
                "\n    ".join(map(str, broken)) or None,
            )


def _ml_dtypes() -> list[Peer]:
    import ml_dtypes

    names = (
        "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3", "float8_e3m4", "float6_e3m2fn",
        "float6_e2m3fn", "float4_e2m1fn",
    )  # fmt: skip
    return [_numpy_peer(f"ml_dtypes.{name}", getattr(ml_dtypes, name)) for name in names]


def _numpy() -> list[Peer]:
    return [_numpy_peer("numpy.float16", np.float16), _numpy_peer("numpy.float32", np.float32)]


def _numpy_peer(name: str, scalar: Any) -> Peer:
    return name, dtype_of(scalar), lambda values: values.astype(scalar)


def _torch() -> list[Peer]:
    import torch

    words = {1: torch.uint8, 2: torch.int16, 4: torch.int32}

    def encoder(name: str, dtype: DType) -> Callable[[Array], Array]:
        def encode(values: Array) -> Array:
            rounded = torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, name))
            return rounded.view(words[dtype.itemsize]).numpy()

        return encode

    names = (float16.name, float32.name, "bfloat16", "float8_e4m3fn", "float8_e5m2")
    return [(f"torch.{name}", dtype_of(name), encoder(name, dtype_of(name))) for name in names]


_PEERS: dict[str, Callable[[], list[Peer]]] = {
    "ml_dtypes": _ml_dtypes,
    "numpy": _numpy,
    "torch": _torch,
}
