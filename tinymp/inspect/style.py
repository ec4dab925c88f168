"""In which colours and patterns are dtypes and classes of values drawn?

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can
tell apart. Each comes with a pattern or a shape of its own, so that a drawing reads in grey, too.
"""

from __future__ import annotations

from dataclasses import dataclass

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY, WHITE = "#BBBBBB", "#FFFFFF"


@dataclass(frozen=True)
class DTypeStyle:
    """How a dtype is drawn in a graph.

    Attributes:
        colour: fill.
        shape: Graphviz shape.
        radius: of the corners, in pixels.
        dashes: SVG pattern of the outline; "" is solid.
    """

    colour: str
    shape: str
    radius: int
    dashes: str


DTYPE_STYLES = {
    "float64": DTypeStyle(GREY, "box3d", 0, "1 3"),
    "float32": DTypeStyle(SKY, "box", 0, ""),
    "float16": DTypeStyle(ORANGE, "ellipse", 16, ""),
    "bfloat16": DTypeStyle(GREEN, "hexagon", 16, "6 3"),
    "float8_e4m3fn": DTypeStyle(PURPLE, "octagon", 8, "2 2"),
    "float8_e5m2": DTypeStyle(VERMILION, "septagon", 8, "8 2 2 2"),
    "int64": DTypeStyle(WHITE, "note", 0, "3 3"),
    "bool": DTypeStyle(WHITE, "note", 0, "1 2"),
}

#: Colour and hatching of the classes of `exponents.CLASSES`.
CLASS_STYLES = {
    "zero": (WHITE, ""),
    "underflow": (VERMILION, "////"),
    "subnormal": (ORANGE, ".."),
    "normal": (SKY, ""),
    "overflow": (PURPLE, "xx"),
    "nan": (BLACK, ""),
}
