"""Looking inside a run: its dtypes, ranges, updates, memory and errors, as tables and plots.

Everything here watches; nothing changes what is computed.
"""

from __future__ import annotations

from tinymp.inspect.attribution import Attribution, OperationError, attribute_errors
from tinymp.inspect.contracts import DTypeContract, contract_of
from tinymp.inspect.drawing import dot, svg
from tinymp.inspect.exponents import CLASSES, Histogram, histogram, histograms
from tinymp.inspect.ledger import KINDS, Ledger, TracedMemory, memory
from tinymp.inspect.plots import (
    plot_classes,
    plot_errors,
    plot_histogram,
    plot_memory,
    plot_updates,
)
from tinymp.inspect.run_ranges import RunRanges, ranges
from tinymp.inspect.tracing import Event, Trace, TracedTensor, trace
from tinymp.inspect.updates import (
    UpdateReport,
    UpdateWatch,
    intended_updates,
    update_report,
)

__all__ = [
    "CLASSES",
    "KINDS",
    "Attribution",
    "DTypeContract",
    "Event",
    "Histogram",
    "Ledger",
    "OperationError",
    "RunRanges",
    "Trace",
    "TracedMemory",
    "TracedTensor",
    "UpdateReport",
    "UpdateWatch",
    "attribute_errors",
    "contract_of",
    "dot",
    "histogram",
    "histograms",
    "intended_updates",
    "memory",
    "plot_classes",
    "plot_errors",
    "plot_histogram",
    "plot_memory",
    "plot_updates",
    "ranges",
    "svg",
    "trace",
    "update_report",
]
