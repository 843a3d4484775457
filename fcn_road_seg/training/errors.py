"""The error of a training run that fails."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """A training run failed; its earlier checkpoints are intact."""
