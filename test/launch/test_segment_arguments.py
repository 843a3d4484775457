"""Arguments of the launch file that start another node, or none."""

import os
import re
import signal
import time
from importlib.util import find_spec

import pytest

from test.helpers.launched import REPOSITORY

SEGMENT = REPOSITORY / 'launch' / 'segment.launch.py'
STARTED = re.compile(r'process started with pid \[(\d+)\]')
pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ('launch', 'launch_ros')),
    reason='launch and launch_ros come with ROS 2, not PyPI',
)


def wait_until(done, timeout_s=60.0):
    deadline_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


def test_misspelt_argument_is_told_with_the_nearest_name(launch):
    launched = launch(SEGMENT, 'imge:=/cam', 'autostart:=false')
    wait_until(lambda: STARTED.search(launched.log))
    text = 'argument imge is unknown and has no effect; did you mean image?'
    assert text in launched.log
    assert launched.interrupt() == 0


def test_node_that_ended_is_started_again_on_request(launch):
    launched = launch(SEGMENT, 'respawn:=True', 'autostart:=False')
    wait_until(lambda: STARTED.search(launched.log))
    os.kill(int(STARTED.search(launched.log)[1]), signal.SIGKILL)
    wait_until(lambda: len(STARTED.findall(launched.log)) == 2)
    assert launched.interrupt() == 0


@pytest.mark.parametrize('name', ['use_sim_time', 'respawn', 'rviz'])
def test_flag_that_is_neither_true_nor_false_is_told_before_anything_starts(launch, name):
    launched = launch(SEGMENT, f'{name}:=maybe')
    assert launched.process.wait(timeout=30) == 1
    assert f"{name} 'maybe' is invalid; give true or false" in launched.log
    assert not STARTED.search(launched.log)
