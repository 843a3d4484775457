import subprocess
import sys

import pytest

from fcn_road_seg.fleet.staging import FOLDER, clear_abandoned, publish, staging_folder

# Stages a folder and a file, says so, and waits.
CHILD = """
import sys
from pathlib import Path
from fcn_road_seg.fleet.staging import staging_folder
with staging_folder(Path(sys.argv[1])) as folder:
    (folder / 'half').touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Start another process that stages something in tmp_path."""
    process = subprocess.Popen(
        [sys.executable, '-c', CHILD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_staged_bag_gets_its_name_and_leaves_nothing_else(tmp_path):
    with staging_folder(tmp_path) as folder:
        (folder / 'bag').mkdir()
        (folder / 'bag/file').touch()
        assert publish(folder / 'bag', tmp_path / 'day/bag')
    clear_abandoned(tmp_path)
    assert [path.name for path in tmp_path.rglob('*')] == ['day', 'bag', 'file']


def test_name_that_is_taken_is_not_replaced(tmp_path):
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag/first').touch()
    with staging_folder(tmp_path) as folder:
        (folder / 'bag').mkdir()
        assert not publish(folder / 'bag', tmp_path / 'bag')
    assert [path.name for path in (tmp_path / 'bag').iterdir()] == ['first']


def test_error_leaves_nothing(tmp_path):
    def failing():
        with staging_folder(tmp_path) as folder:
            (folder / 'half').touch()
            raise ValueError('mine')

    with pytest.raises(ValueError, match='mine'):
        failing()
    clear_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_living_process_is_left_alone(tmp_path, other):
    clear_abandoned(tmp_path)
    assert len(list((tmp_path / FOLDER).glob('*/half'))) == 1


def test_folder_of_a_killed_process_is_removed(tmp_path, other):
    other.kill()
    other.wait()
    clear_abandoned(tmp_path)
    assert list(tmp_path.iterdir()) == []
