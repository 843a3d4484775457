"""TODO: one line."""

from __future__ import annotations


class BenchError(RuntimeError):
    """The figures cannot be had; the text says why."""


class NodeBenchError(RuntimeError):
    """The node or its camera did not start, or ended on the way; the text is one line."""
