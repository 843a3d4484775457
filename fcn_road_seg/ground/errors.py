"""The error of the ground's geometry."""

from __future__ import annotations

# Names that the text quotes come from messages, and may be a megabyte long.
MAX_NAME_CHARACTERS = 40


class GroundError(ValueError):
    """Camera, mounting or grid cannot be used; the text is one line, with the remedy."""
