"""The error of the ground's geometry."""

from __future__ import annotations


class GroundError(ValueError):
    """Camera, mounting or grid cannot be used; the text is one line, with the remedy."""
