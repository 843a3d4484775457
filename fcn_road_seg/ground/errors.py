"""The error of the ground's geometry."""

from __future__ import annotations

# Of a name in the text that somebody sent, who may have sent a megabyte.
MAX_NAME_CHARACTERS = 40


class GroundError(ValueError):
    """Camera, mounting or grid cannot be used; the text is one line, with the remedy."""
