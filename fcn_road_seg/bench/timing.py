"""Timings that other processes disturb as little as can be: interleaved, by medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from tqdm import tqdm

Key = TypeVar('Key', bound=Hashable)

# Of fewer, quartiles say nothing.
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Spread:
    """Minimum, median and quartiles."""

    least: float
    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float], scale: float = 1.0) -> Spread:
        """Return the spread of at least one value, each multiplied by `scale`."""
        return cls(*(float(q) for q in np.percentile(np.multiply(values, scale), (0, 25, 50, 75))))

    def rounded(self, decimals: int) -> dict[str, float]:
        return {name: round(value, decimals) for name, value in asdict(self).items()}


def interleaved(
    samples: Sequence[Callable[[], Mapping[Key, float]]],
    rounds: int,
    budget_s: float,
    pause_s: float = 0.0,
) -> dict[Key, list[float]]:
    """Take every sample once a round; return what was measured under each key, round by round.

    Before each there is a pause, in which the one before it comes to rest.
    A first round warms up and does not count. How long it takes decides how many of the `rounds`
    fit into `budget_s`; `MIN_ROUNDS`, if so many were asked for, are taken in any case.
    """
    began_s = time.monotonic()
    for sample in tqdm(samples, desc='warming up', unit='call', leave=False):
        time.sleep(pause_s)
        sample()
    fitting = int(budget_s / (time.monotonic() - began_s))
    taken: dict[Key, list[float]] = {}
    for index in tqdm(range(min(rounds, max(fitting, MIN_ROUNDS))), desc='timing', unit='round'):
        # Each sample finds the caches as another one left them: not always the same one.
        for sample in samples[:: -1 if index % 2 else 1]:
            time.sleep(pause_s)
            for key, value in sample().items():
                taken.setdefault(key, []).append(value)
    return taken
