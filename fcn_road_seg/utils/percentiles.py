"""Percentiles, by one definition for everything that reports them."""

from __future__ import annotations

from collections.abc import Sequence


def nearest_rank(values: Sequence[float], p: int) -> float | None:
    """Return the `p`-th percentile (1 to 100) by nearest rank; None if there are no values.

    It is the smallest of the values that at least p % of them do not exceed: always one that was
    measured, never one interpolated between two.
    """
    if not values:
        return None
    # In integers, so that no rounding error changes the rank.
    rank = -(-p * len(values) // 100)
    return sorted(values)[rank - 1]
