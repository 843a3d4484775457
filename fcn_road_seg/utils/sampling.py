"""Chooses a few of many items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar('Item')


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` of `items`, evenly spaced."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
