"""How the attention kernels divide their work, and the source that this makes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinymp.devices.kernels.attention_forward import FORWARD
from tinymp.devices.kernels.attention_key_gradient import KEY_GRADIENT
from tinymp.devices.kernels.attention_products import BY_WARPGROUPS, BY_WARPS
from tinymp.devices.kernels.attention_query_gradient import QUERY_GRADIENT
from tinymp.devices.kernels.attention_tiles import FRAGMENTS, INSTRUCTIONS, TILES
from tinymp.devices.kernels.template import filled

#: The formats that are served, and PTX's names of them.
TYPES = {"float16": "f16", "bfloat16": "bf16"}
WIDTHS = (32, 64, 128)
WIDEST = WIDTHS[-1]


class Tiling(NamedTuple):
    """How a kernel divides its work; what fits in registers and shared memory decides.

    team: warps that multiply together, 1 or 4.  warps: those of a block.  strips: of 16 rows, for
    each warp.  tile: rows of a tile.  step: columns of scores in registers at a time.  kept: left
    factors stay in registers.  blocks: on a processor, at least; registers are limited accordingly.
    """

    team: int
    warps: int
    strips: int
    tile: int
    step: int
    kept: bool
    blocks: int

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return 16 * self.warps * self.strips


class Kind(NamedTuple):
    """A kernel's text, and its use of memory.

    tilings: by team, and by width of a tile.  left: tiles of left factors, `Tiling.rows` long.
    summary: bytes for each row of the other tiles.
    """

    text: str
    tilings: dict[int, dict[int, Tiling]]
    left: int
    summary: int = 0


KINDS = {
    "attention_forward": Kind(
        FORWARD,
        {
            1: {
                32: Tiling(1, 4, strips=2, tile=64, step=64, kept=True, blocks=3),
                64: Tiling(1, 4, strips=2, tile=64, step=64, kept=True, blocks=2),
                128: Tiling(1, 4, strips=2, tile=64, step=32, kept=False, blocks=2),
            },
            4: {
                32: Tiling(4, 4, strips=1, tile=64, step=64, kept=True, blocks=4),
                64: Tiling(4, 4, strips=1, tile=64, step=64, kept=True, blocks=4),
                128: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=3),
            },
        },
        left=1,
    ),
    "attention_query_gradient": Kind(
        QUERY_GRADIENT,
        {
            1: {
                32: Tiling(1, 4, strips=2, tile=64, step=32, kept=True, blocks=3),
                64: Tiling(1, 4, strips=2, tile=64, step=32, kept=True, blocks=2),
                128: Tiling(1, 4, strips=2, tile=32, step=32, kept=False, blocks=2),
            },
            4: {
                32: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=4),
                64: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=4),
                128: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=2),
            },
        },
        left=2,
    ),
    "attention_key_gradient": Kind(
        KEY_GRADIENT,
        {
            1: {
                32: Tiling(1, 4, strips=2, tile=64, step=32, kept=True, blocks=2),
                64: Tiling(1, 4, strips=2, tile=64, step=32, kept=False, blocks=2),
                128: Tiling(1, 4, strips=1, tile=32, step=32, kept=False, blocks=2),
            },
            4: {
                32: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=3),
                64: Tiling(4, 4, strips=1, tile=64, step=64, kept=False, blocks=3),
                128: Tiling(4, 8, strips=1, tile=64, step=64, kept=False, blocks=1),
            },
        },
        left=2,
        summary=8,
    ),
}


def tiling(name: str, head: int, capability: int) -> Tiling:
    """How a kernel is run, for heads of `head` elements, on GPUs of a compute capability."""
    return KINDS[name].tilings[4 if capability == 90 else 1][_width(head)]


def source(name: str, dtype: Any, mode: str, head: int, how: Tiling) -> str:
    """CUDA C++ of one of the `KINDS`, for heads of `head` elements."""
    products = BY_WARPGROUPS if how.team == 4 else BY_WARPS
    pieces = [INSTRUCTIONS, TILES, FRAGMENTS, products, KINDS[name].text]
    return filled(
        "\n".join([f'#define TYPE "{TYPES[dtype.name]}"', *pieces]),
        Format=dtype,
        MODE=mode,
        HEAD=head,
        WIDTH=_width(head),
        TEAM=how.team,
        WARPS=how.warps,
        STRIPS=how.strips,
        TILE=how.tile,
        STEP=how.step,
        KEPT=how.kept,
        BLOCKS=how.blocks,
    )


def shared_bytes(name: str, head: int, how: Tiling) -> int:
    """Shared memory of a block: tiles of left factors, and two stages of two tiles each."""
    words = (KINDS[name].left * how.rows + 4 * how.tile) * _width(head)
    return 2 * words + 2 * how.tile * KINDS[name].summary


def _width(head: int) -> int:
    return next(width for width in WIDTHS if head <= width)
