"""How do findings look as text? Tables with aligned columns, and shares that never round away."""

from __future__ import annotations

from collections.abc import Sequence

Line = Sequence[object] | None


def table(head: Sequence[str], lines: Sequence[Line], right: Sequence[int] = ()) -> str:
    """Rows under a head; the columns in `right` are aligned right, a row of None draws a rule."""
    rows = [list(head)] + [[str(cell) for cell in line] for line in lines if line is not None]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]

    def laid_out(cells: Sequence[object]) -> str:
        texts = [str(cell) for cell in cells]
        aligned = [
            text.rjust(width) if i in right else text.ljust(width)
            for i, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    rule = "  ".join("-" * width for width in widths)
    body = [rule if line is None else laid_out(line) for line in lines]
    return "\n".join([laid_out(head), rule, *body])


def percent(part: int, whole: int) -> str:
    """`part` of `whole` in percent; never a 0 for something, nor a 100 for less than all."""
    if whole == 0 or part == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    share = 100 * part / whole
    if share < 0.01:
        return "< 0.01 %"
    return "> 99.99 %" if share > 99.99 else f"{share:.2f} %"


def scientific(x: float | None) -> str:
    """A relative error in two digits, or a dash where there is none to tell."""
    return "-" if x is None else "0" if x == 0 else f"{x:.1e}"
