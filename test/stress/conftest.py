"""How often the stress tests throw what they throw, and the table of what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from textwrap import wrap

import pytest

# make stress SHARE=0.01 throws a hundredth.
SHARE = float(os.environ.get('STRESS_SHARE') or 1)
WIDTHS = (34, 9, 51)
Row = tuple[str, str, str]

_rows: list[Row] = []


@pytest.fixture
def times() -> Callable[[int], int]:
    """Return how often to do what the full run does `count` times: at least once."""
    return lambda count: max(1, round(count * SHARE))


@pytest.fixture
def report() -> Callable[[str, int, str], None]:
    """Add a row to the table: what was thrown, how often, and the outcome.

    Call it at the end: what has a row has passed.
    """
    return lambda thrown, count, outcome: _rows.append((thrown, f'{count:,}', outcome))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section('what was thrown')
    for row in [('thrown', 'times', 'outcome'), *_rows]:
        cells = [wrap(text, width) for text, width in zip(row, WIDTHS, strict=True)]
        for i in range(max(map(len, cells))):
            line = [cell[i] if i < len(cell) else '' for cell in cells]
            padded = (text.ljust(width) for text, width in zip(line, WIDTHS, strict=True))
            terminalreporter.write_line('  '.join(padded).rstrip())
