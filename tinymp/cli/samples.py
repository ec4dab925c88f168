"""How a command shows what a model writes."""

from __future__ import annotations

from textwrap import indent

from rich.console import Console

from tinymp.train import Sample, Training, samples


def show_samples(screen: Console, training: Training) -> None:
    """Let the model write, if its task is to write, and say what is right where that is known."""
    try:
        written = samples(training)
    except FloatingPointError as diverged:
        screen.print(f"It can write nothing: {diverged}", markup=False)
        return
    known = [sample for sample in written if sample.expected is not None]
    if known:
        screen.print("Numbers that it never saw, and what it writes:", style="bold")
        longest = max(len(sample.prompt + sample.written) for sample in known)
        for sample in known:
            line = _printable(sample.prompt + sample.written).ljust(longest)
            verdict = "right" if sample.is_right else f"wrong: {sample.expected}"
            screen.print(f"  {line}  {verdict}", markup=False, soft_wrap=True)
    for sample in written:
        if sample.expected is None:
            _show_text(screen, sample)


def _show_text(screen: Console, sample: Sample) -> None:
    screen.print(f"After {_printable(sample.prompt)!r} it writes:", style="bold", markup=False)
    screen.print(indent(_printable(sample.written), "  "), markup=False, soft_wrap=True)


def _printable(text: str) -> str:
    """The text without what a terminal would obey instead of showing it."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
