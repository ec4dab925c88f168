"""The float explorer, in a real browser: its numbers are those of mp.formats, its page follows."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinymp.course import tutorials_folder
from tinymp.formats import bfloat16, float8_e4m3fn, float8_e5m2, float16, float32, float64
from tinymp.formats.anatomy import examine, round_fraction
from tinymp.testing import aimed_values

FORMATS = (float32, float16, bfloat16, float8_e4m3fn, float8_e5m2)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
TYPED = [
    "0", "-0", "0.1", "-1/3", "65504", "65519.99", "65520", "464", "464.0000001", "448", "1e-8",
    "0x1p-25", "0x1.8p-25", "0x1.000001p-25", "2049", "257", "3.4028235677973366e38", "3.5e38",
    "1e-46", "1.00048828125", "1.000488281250000000000000001", "inf", "-inf", "nan", ".5", "7.",
]  # fmt: skip


def in_browser(script: str, folder: Path) -> Any:
    """What an expression gives at the end of the page: the page is run, and its result read."""
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"none of the browsers {', '.join(NAMES)} is installed")
    page = (tutorials_folder() / "float_explorer.html").read_text(encoding="utf-8")
    probe = f'<pre id="result"></pre><script>result.textContent = JSON.stringify({script})</script>'
    copy = folder / "page.html"
    copy.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
            f"--user-data-dir={folder / 'profile'}", copy.as_uri(),
        ],
        capture_output=True, encoding="utf-8", timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page gave no result: {done.stderr[-500:]}"
    return json.loads(html.unescape(found[1]))


def numbers() -> list[str]:
    aimed = [
        repr(float(x))
        for dtype in FORMATS
        for source in (float32, float64)
        for x in aimed_values(7, dtype, source, 120)
    ]
    return [*TYPED, *aimed]


EXAMINE = """((texts) => texts.map((text) => FORMATS.map((format) =>
    ["toward_zero", "nearest_even"].map((mode) => {
        const seen = examine(parse(text), format, mode);
        const shown = (x) => x === null ? null : Object.is(x, -0) ? "-0" : String(x);
        return [seen.word, seen.kind, shown(seen.below), shown(seen.above), seen.error];
    }))))(%s)"""


def test_words_kinds_neighbours_and_errors_are_those_of_the_library(tmp_path: Path) -> None:
    texts = numbers()
    found = in_browser(EXAMINE % json.dumps(texts), tmp_path)
    for text, by_format in zip(texts, found, strict=True):
        for dtype, by_mode in zip(FORMATS, by_format, strict=True):
            for mode, (word, kind, below, above, error) in zip(
                ("toward_zero", "nearest_even"), by_mode, strict=True
            ):
                expected = examine(text, dtype, mode)
                where = f"{text} in {dtype.name}, {mode}"
                assert word == expected.word, where
                assert kind == expected.kind, where
                assert [number(below), number(above)] == [expected.below, expected.above], where
                if expected.error_ulps is None:
                    assert error is None, where
                else:
                    # About 53 bits of a quotient; the error of a number beyond the format is large.
                    assert error == pytest.approx(float(expected.error_ulps), rel=1e-12), where


def number(text: str | None) -> float | None:
    return None if text is None else float(text.replace("Infinity", "inf"))


STOCHASTIC = """((cases) => cases.map(([text, name, draw]) =>
    round(parse(text), formatOf(name), "stochastic", BigInt(draw))))(%s)"""


def test_stochastic_rounding_follows_its_draw(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cases = [
        (text, dtype.name, str(int(rng.integers(2**32))))
        for text in ("0.1", "1/3", "1e-8", "65519", "2049", "500", "-0.7", "0x1.fffp-15")
        for dtype in FORMATS
        for _ in range(10)
    ]
    found = in_browser(STOCHASTIC % json.dumps(cases), tmp_path)
    for (text, name, draw), word in zip(cases, found, strict=True):
        dtype = next(dtype for dtype in FORMATS if dtype.name == name)
        exact = examine(text, float64).exact if "x" in text else Fraction(text)
        assert exact is not None
        magnitude = round_fraction(
            abs(exact), dtype, "stochastic", random=Fraction(int(draw), 2**32)
        )
        assert word == magnitude + (dtype.sign_mask if exact < 0 else 0), (text, name, draw)


PAGE = """(() => {
    const input = document.getElementById("number");
    const type = (text) => { input.value = text; input.dispatchEvent(new Event("input")); };
    const choose = (mode) => document.querySelector(`input[value=${mode}]`).click();
    const card = (name) => {
        const within = document.getElementById(name);
        const bits = [...within.querySelectorAll(".bit")].map((bit) => bit.textContent).join("");
        return [bits, ...[".stored", ".kind", ".error"].map((part) =>
            within.querySelector(part).textContent)];
    };
    const bit = (name, at) => document.querySelector(`#${name} [data-bit="${at}"]`).click();
    const seen = {};
    seen.start = card("float16");
    choose("toward_zero"); seen.cut = card("bfloat16");
    choose("nearest_even"); seen.nearest = card("bfloat16");
    type("65520"); seen.overflow = card("float16");
    type("1e-8"); seen.underflow = card("float16");
    type("zwölf"); seen.invalid = [input.getAttribute("aria-invalid"),
                                   document.getElementById("message").textContent];
    type("1"); bit("float16", 0); seen.flipped = [input.value, ...card("float16")];
    seen.follows = card("float32");
    type("inf"); bit("float16", 3); seen.payload = [input.value, ...card("float16")];
    type("1"); document.querySelector("#float16 .neighbours button:last-child").click();
    seen.above = input.value;
    const named = (control) => control.textContent.trim() || control.getAttribute("aria-label")
        || control.labels?.length;
    seen.unlabelled = [...document.querySelectorAll("button, input")].filter(
        (control) => !named(control)).length;
    seen.requests = performance.getEntriesByType("resource").length;
    return seen;
})()"""


def test_the_page_follows_what_is_typed_and_clicked(tmp_path: Path) -> None:
    seen = in_browser(PAGE, tmp_path)
    assert seen["start"] == ["0010111001100110", "0.0999755859375", "normal", "-0.400 ulp"]
    assert seen["cut"][0].endswith("1001100")
    assert seen["nearest"][0].endswith("1001101")
    assert seen["overflow"][1:3] == ["Infinity", "overflow: infinity"]
    assert seen["underflow"][1:3] == ["0", "underflow: zero"]
    assert seen["invalid"][0] == "true"
    assert "“zwölf” is no number yet; write 0.1" in seen["invalid"][1]
    assert seen["flipped"][:2] == ["1.0009765625", "0011110000000001"]
    assert seen["follows"][1:] == ["1.0009765625", "normal", "exact"]
    assert seen["payload"] == ["nan", "0111110000001000", "NaN", "nan", "–"]
    assert seen["above"] == "1.0009765625"
    assert seen["unlabelled"] == 0
    assert seen["requests"] == 0, "the page must work offline"
