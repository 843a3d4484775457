"""Launch files started for real, each in a process of its own."""

import os
import signal
import subprocess
import sys

import pytest

from test.helpers.launched import REPOSITORY, own_prefix

# Now, as test_segment_launch puts a prefix with an rviz2 before it.
AMENT_PREFIX_PATH = os.environ.get('AMENT_PREFIX_PATH')


@pytest.fixture(scope='module')
def prefix():
    return own_prefix()


class Launched:
    """A running launch; `log` is what it and its processes printed so far."""

    def __init__(self, file, arguments, env, log_path):
        command = [sys.executable, str(REPOSITORY / 'test/helpers/launched.py'), str(file)]
        self._log_path = log_path
        with log_path.open('w') as log:
            self.process = subprocess.Popen(
                [*command, *arguments, 'device:=cpu'],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self):
        return self._log_path.read_text()

    def has_ended(self):
        return self.process.poll() is not None

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.fixture
def launch(prefix, tmp_path):
    """Start `ros2 launch`: `launched = launch(file, 'bag:=x')`; it is ended after the test."""
    started = []
    env = {
        **os.environ,
        'PATH': f'{prefix}/bin{os.pathsep}{os.environ["PATH"]}',
        'AMENT_PREFIX_PATH': os.pathsep.join(filter(None, [str(prefix), AMENT_PREFIX_PATH])),
        'ROS_LOG_DIR': str(tmp_path / 'log'),
    }

    def start(file, *arguments):
        started.append(Launched(file, arguments, env, tmp_path / f'launch_{len(started)}.log'))
        return started[-1]

    yield start
    for launched in started:
        if not launched.has_ended():
            launched.interrupt()
