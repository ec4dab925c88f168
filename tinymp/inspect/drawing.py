"""What does a traced run look like? A graph of its operations, coloured by the dtype of results.

As source text for Graphviz, or as an SVG image that needs no other program.
"""

from __future__ import annotations

from tinymp.inspect.style import DTYPE_STYLES, DTypeStyle
from tinymp.inspect.tracing import Event, Trace, TracedTensor

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 150, 40, 24, 44, 20


def dot(trace: Trace) -> str:
    """The forward graph of a trace in Graphviz's language: `dot -Tpng` draws it.

    Colour and shape of a node tell the dtype of its result; casts have a double outline. Edges from
    outside the trace begin at the tensor's name and dtype.
    """
    lines = ["digraph trace {", "  node [style=filled, fontname=Helvetica];"]
    outside = 0
    for event in _forward(trace):
        style = _style(event)
        lines.append(
            f'  n{event.number} [label="{_label(event)}", shape={style.shape}, '
            f'fillcolor="{style.colour}", peripheries={2 if event.cast else 1}];'
        )
        for x in event.inputs:
            if x.made_by is None:
                outside += 1
                lines.append(f'  x{outside} [label="{_name(x)}", shape=plaintext, style=""];')
                lines.append(f"  x{outside} -> n{event.number};")
            else:
                lines.append(f"  n{x.made_by} -> n{event.number};")
    return "\n".join([*lines, "}"])


def svg(trace: Trace) -> str:
    """The forward graph of a trace as an SVG image, from inputs at the top to the loss.

    Colour, corners and outline of a box tell the dtype of its result, and so does its text; casts
    have a double outline. Above a box stand the parameters and other tensors from outside.
    """
    places = _places(trace)
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="12" '
        'text-anchor="middle">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for event in _forward(trace):  # edges first: boxes lie on top of them
        for x in event.inputs:
            if x.made_by is not None:
                parts.append(_edge(places[x.made_by], places[event.number]))
    parts += [_box(event, *places[event.number]) for event in _forward(trace)]
    return "\n".join([*parts, "</svg>"])


def _forward(trace: Trace) -> list[Event]:
    return [event for event in trace.events if event.phase == "forward"]


def _style(event: Event) -> DTypeStyle:
    return DTYPE_STYLES[event.outputs[0].dtype.name]


def _label(event: Event) -> str:
    return f"{event.number} {event.contract.op}\\n{event.outputs[0]}"


def _name(x: TracedTensor) -> str:
    return f"{x.parameter or x.role} {x.dtype.name}"


def _places(trace: Trace) -> dict[int, tuple[int, int]]:
    """Upper left corner of each box: a row below all of its inputs, in the order of the run."""
    rows: dict[int, int] = {}
    for event in _forward(trace):
        above = [rows[x.made_by] for x in event.inputs if x.made_by is not None]
        rows[event.number] = max(above, default=-1) + 1
    # What needs no other result goes down to the row above the first operation that uses it.
    for event in reversed(_forward(trace)):
        for x in event.inputs:
            if x.made_by is not None and not _needs_result(trace.events[x.made_by - 1]):
                uses = [e for e in _forward(trace) if x.made_by in [i.made_by for i in e.inputs]]
                rows[x.made_by] = min(rows[e.number] for e in uses) - 1
    filled: dict[int, int] = {}
    places = {}
    for number, row in rows.items():
        column = filled.get(row, 0)
        filled[row] = column + 1
        left = _MARGIN + column * (_WIDTH + _GAP_X)
        places[number] = (left, _MARGIN + 12 + row * (_HEIGHT + _GAP_Y))
    return places


def _needs_result(event: Event) -> bool:
    return any(x.made_by is not None for x in event.inputs)


def _edge(source: tuple[int, int], target: tuple[int, int]) -> str:
    x1, y1 = source[0] + _WIDTH // 2, source[1] + _HEIGHT
    x2, y2 = target[0] + _WIDTH // 2, target[1]
    middle = (y1 + y2) // 2
    path = f"M {x1} {y1} C {x1} {middle}, {x2} {middle}, {x2} {y2}"
    return f'<path d="{path}" fill="none" stroke="#666666"/>'


def _box(event: Event, x: int, y: int) -> str:
    from html import escape  # its table of entities would burden every `import tinymp`

    style = _style(event)
    outline = f'stroke="black" stroke-dasharray="{style.dashes}" rx="{style.radius}"'
    centre = x + _WIDTH // 2
    parts = [
        f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" fill="{style.colour}" '
        f"{outline}/>"
    ]
    if event.cast:
        parts.append(
            f'<rect x="{x + 3}" y="{y + 3}" width="{_WIDTH - 6}" height="{_HEIGHT - 6}" '
            f'fill="none" {outline}/>'
        )
    outside = ", ".join(i.parameter or i.role for i in event.inputs if i.made_by is None)
    parts.append(
        f'<text x="{centre}" y="{y - 4}" font-size="10" fill="#444444">{escape(outside)}</text>'
    )
    parts.append(
        f'<text x="{centre}" y="{y + 17}">{event.number} {escape(event.contract.op)}</text>'
    )
    parts.append(f'<text x="{centre}" y="{y + 32}">{escape(str(event.outputs[0]))}</text>')
    return "\n".join(parts)
