"""The error of a live session."""

from __future__ import annotations


class LiveError(RuntimeError):
    """ROS, the node or its camera did not start, or ended early; the text is one line."""
