"""The drawn graph: every operation once, every edge, and every dtype in a way of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

import tinymp as mp
from tinymp.amp import autocast
from tinymp.formats import DTYPES
from tinymp.inspect import CLASSES, Trace, dot, svg, trace
from tinymp.inspect.style import CLASS_STYLES, DTYPE_STYLES


def example() -> Trace:
    model = mp.nn.Sequential(mp.nn.Linear(4, 3), mp.nn.ReLU(), mp.nn.Linear(3, 2))
    with trace(model) as run, autocast(mp.float16):
        mp.cross_entropy(model(mp.ones(5, 4)), mp.tensor([0, 1, 0, 1, 0])).backward()
    return run


def test_dot_names_every_operation_and_edge() -> None:
    run = example()
    text = dot(run)
    forward = [e for e in run.events if e.phase == "forward"]
    nodes = re.findall(r"^  n(\d+) \[label=\"(\d+) (\w+)\\n([^\"]*)\"", text, re.M)
    assert [(int(a), op, t) for a, _, op, t in nodes] == [
        (e.number, e.contract.op, str(e.outputs[0])) for e in forward
    ]
    edges = {(int(a), int(b)) for a, b in re.findall(r"n(\d+) -> n(\d+);", text)}
    assert edges == {
        (x.made_by, e.number) for e in forward for x in e.inputs if x.made_by is not None
    }
    assert '[label="0.weight float32"' in text
    assert text.count("peripheries=2") == len(run.casts)
    assert text.startswith("digraph trace {")
    assert text.endswith("}")


def test_svg_is_well_formed_and_complete() -> None:
    run = example()
    image = ElementTree.fromstring(svg(run))
    space = {"s": "http://www.w3.org/2000/svg"}
    forward = [e for e in run.events if e.phase == "forward"]
    texts = [t.text for t in image.findall("s:text", space)]
    for event in forward:
        assert f"{event.number} {event.contract.op}" in texts
        assert str(event.outputs[0]) in texts
    assert "0.weight" in texts
    edges = sum(x.made_by is not None for e in forward for x in e.inputs)
    assert len(image.findall("s:path", space)) == edges
    boxes = [r for r in image.findall("s:rect", space) if r.get("x") is not None]
    assert len(boxes) == len(forward) + len(run.casts)
    outer = [r for r in boxes if r.get("fill") != "none"]
    places = [(int(r.get("x", "0")), int(r.get("y", "0"))) for r in outer]
    assert len(set(places)) == len(places)
    width, height = (int(v) for v in image.get("viewBox", "").split()[2:])
    assert max(x for x, _ in places) + 150 < width
    assert max(y for _, y in places) + 40 < height


def test_results_stand_below_their_operands() -> None:
    from tinymp.inspect.drawing import _places

    run = example()
    places = _places(run)
    for event in run.events:
        for x in event.inputs if event.phase == "forward" else ():
            if x.made_by is not None:
                assert places[x.made_by][1] < places[event.number][1]


@pytest.mark.parametrize("draw", [dot, svg])
def test_an_empty_trace(draw: Callable[[Trace], str]) -> None:
    assert "n1" not in draw(Trace())


def test_every_dtype_and_class_has_a_style_of_its_own() -> None:
    assert set(DTYPE_STYLES) == {dtype.name for dtype in DTYPES}
    floats = [DTYPE_STYLES[d.name] for d in DTYPES if d.is_float]
    assert len({style.colour for style in floats}) == len(floats)
    assert len({style.shape for style in floats}) == len(floats)
    assert len({(style.radius, style.dashes) for style in floats}) == len(floats)
    assert tuple(CLASS_STYLES) == CLASSES
    assert len({colour for colour, _ in CLASS_STYLES.values()}) == len(CLASSES)


def test_names_are_escaped() -> None:
    model = mp.nn.Module()
    setattr(model, "a<b&c", mp.nn.Parameter(mp.ones(2)))
    with trace(model) as run:
        _ = getattr(model, "a<b&c") * 2
    ElementTree.fromstring(svg(run))
    assert "a&lt;b&amp;c" in svg(run)
