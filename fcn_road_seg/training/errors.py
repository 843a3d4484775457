"""The error of a training that does not reach its end."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training failed; its earlier checkpoints are intact."""
