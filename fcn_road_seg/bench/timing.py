"""Timings that other processes disturb as little as possible: interleaved, with medians."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from tqdm import tqdm

Key = TypeVar('Key', bound=Hashable)

# Quartiles of fewer values say nothing.
MIN_ROUNDS = 3


@dataclass(frozen=True)
class Spread:
    """Minimum, median and quartiles.

    Quartiles and median are interpolated linearly between two values (numpy's default).
    """

    least: float
    q1: float
    median: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float], scale: float = 1.0) -> Spread:
        """Return the spread of at least one value, each multiplied by `scale`."""
        return cls(*(float(q) for q in np.percentile(np.multiply(values, scale), (0, 25, 50, 75))))

    def as_dict(self, decimals: int) -> dict[str, float]:
        """Return the values by name, rounded."""
        return {name: round(value, decimals) for name, value in asdict(self).items()}


def interleave(
    samples: Sequence[Callable[[], Mapping[Key, float]]],
    rounds: int,
    budget_s: float,
    pause_s: float = 0.0,
) -> dict[Key, list[float]]:
    """Take every sample once in each round; return the values of each key, round by round.

    A pause of `pause_s` precedes each sample, so that the threads of the one before it become
    idle. A first round warms up and does not count. Its duration decides how many of the `rounds`
    fit into `budget_s`, but at least `MIN_ROUNDS` are taken (or `rounds`, if that is less).
    """
    began_s = time.monotonic()
    for sample in tqdm(samples, desc='warming up', unit='call', leave=False):
        time.sleep(pause_s)
        sample()
    fitting = int(budget_s / (time.monotonic() - began_s))
    taken: dict[Key, list[float]] = {}
    for index in tqdm(range(min(rounds, max(fitting, MIN_ROUNDS))), desc='timing', unit='round'):
        # Every second round runs in reverse order, so that a sample does not always find the data
        # of the same other sample in the caches.
        for sample in samples[:: -1 if index % 2 else 1]:
            time.sleep(pause_s)
            for key, value in sample().items():
                taken.setdefault(key, []).append(value)
    return taken
