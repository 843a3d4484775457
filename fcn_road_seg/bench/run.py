"""TODO: one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fcn_road_seg.bench.report import write_chart
from fcn_road_seg.utils.atomic_write import atomic_write

FORMAT_VERSION = 1
DRIVE_SEED = 2_000_000
# What the live node's camera repeats.
CAMERA_FRAMES = 15


def save(report: Mapping[str, Any], folder: Path) -> None:
    """Write `bench.json`."""
    with atomic_write(folder / 'bench.json') as part:
        part.write_text(json.dumps(report, indent=2) + '\n')


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Write `bench.png`, where there is matplotlib."""
    try:
        write_chart(report, folder / 'bench.png')
    except ImportError as error:
        print(f'bench: no chart ({error}); pip install matplotlib', file=sys.stderr)


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)
