"""The table of all operations: what each sees, computes, sums, returns and keeps."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from inspect import getmodule

from tinymp.autograd.op import OPS, Op

_RESULTS = {
    "promote": "common",
    "float": "common float",
    "bool": "bool",
    "int64": "int64",
    "attribute": "as asked",
}
_SUMS = {"nowhere": "", "forward": "forward", "backward": "backward", "both": "both"}

PREFACE = """\
# Operations

What every operation of tinymp does with dtypes, read from the code. Do not edit this page, run
`tinymp ops --markdown > tutorials/operations.md`. `tinymp ops matmul` shows one row, and
`print(mp.inspect.contract_of("matmul", "float16", "float16"))` says it for given dtypes. Functions
that are not here are made of those that are: `mm` of `matmul`, `square` of `pow`.
"""
LEGEND = """\
- **sees**: what the rule gets of a tensor: its *values*, decoded exactly to the compute dtype; its
  *words*, as they are stored, to move them; words *packed* with their dtype, as tensor cores take
  them. A second word is for the gradient rules, where they see something else. Inputs in
  parentheses (indices, masks, labels) pass as they are, and those in brackets may be left out.
- **computes in**: float32, or float64 where an input is float64; nothing, where words move.
- **sums**: where the rules add up many terms. They do so in the dtype they compute in, unless
  `mp.accumulation` says otherwise; so does the sum that undoes broadcasting.
- **result**: rounded once, to the *common* dtype of the inputs, by promotion; a *common float* is
  float32 where they are integers.
- **gradients**: which inputs get one, each rounded once to the dtype of that input (float8_e5m2 for
  a float8 input).
- **keeps**: what waits for backward: inputs and `out`, the result, as they are stored, and, in
  italics, what the forward rule made besides, as it made it: statistics in the compute dtype,
  attention's weights in the dtype of its inputs, a pool's choices in a byte each.
- **autocast**: *lower* casts the inputs to the lower precision; *float32* makes the result float32,
  or wider; *widest* casts the inputs to the widest among them; where nothing stands, nothing
  changes. The lists are those of PyTorch on CUDA.\
"""


@dataclass(frozen=True)
class Operation:
    """The contract of one operation, for all dtypes, in words; see `LEGEND`."""

    operation: str
    sees: str
    computes_in: str
    sums: str
    result: str
    gradients: str
    keeps: str
    autocast: str


def describe(op: Op) -> Operation:
    """The row of one operation."""
    marked = [
        f"({name})" if name in op.undecoded else f"[{name}]" if name in op.optional else name
        for name in op.inputs
    ]
    inputs = "*" * op.variadic + ", ".join(marked)
    needed = {need for rule in op.gradients.values() for need in rule.needs}
    kept = [name for name in (*op.inputs, "out") if name in needed]
    kept += [f"*{name}*" for name in op.residuals if name in needed]
    views = dict.fromkeys((op.forward_on, op.backward_on if op.gradients else op.forward_on))
    return Operation(
        operation=f"{op.name}({inputs})",
        sees=", ".join(views),
        computes_in="nothing" if set(views) == {"words"} else "float32",
        sums=_SUMS[op.accumulates],
        result=_RESULTS[op.result],
        gradients=", ".join(name for name in op.inputs if name in op.gradients) or "none",
        keeps=", ".join(kept),
        autocast="" if op.autocast == "follow" else op.autocast,
    )


def chapters() -> dict[str, list[Op]]:
    """The operations, under the first lines of the modules of `ops` that define them."""
    found: dict[str, list[Op]] = {}
    for op in OPS.values():
        module = getmodule(op.forward)
        title = (module.__doc__ or "").partition("\n")[0] if module else ""
        found.setdefault(title, []).append(op)
    return found


def as_markdown() -> str:
    """The page of all operations, in Markdown."""
    parts = [PREFACE, LEGEND]
    for title, operations in chapters().items():
        rows = [head(), ["---"] * len(head())]
        rows += [[f"`{name}`", *rest] for name, *rest in map(cells, operations)]
        lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows]
        parts.append(f"\n## {title.rstrip('.')}\n\n" + "\n".join(lines))
    return "\n".join(parts) + "\n"


def head() -> list[str]:
    """The titles of the columns."""
    return [field.name.replace("_", " ") for field in fields(Operation)]


def cells(op: Op) -> list[str]:
    """The row of one operation, a text for each column."""
    return list(astuple(describe(op)))
