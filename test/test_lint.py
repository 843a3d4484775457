"""Style and types of the sources, for `colcon test`; in place of ament_flake8 and ament_pep257."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def check(module, since, *arguments):
    """Run a checker on the whole package; skip if it is missing or older than `since`."""
    try:
        found = tuple(int(number) for number in version(module).split('.')[:2])
    except PackageNotFoundError:
        pytest.skip(f'{module} is not installed')
    if found < since:
        pytest.skip(f'{module} is older than {since[0]}.{since[1]}')
    done = subprocess.run(
        [sys.executable, '-m', module, *arguments], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_no_fault():
    check('ruff', (0, 6), 'check', '.')


def test_ruff_would_change_no_format():
    check('ruff', (0, 6), 'format', '--check', '.')


def test_types_are_consistent():
    check('mypy', (1, 11))
