"""The node as a process of its own, for programs that show or measure it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

END_TIMEOUT_S = 10.0


@contextmanager
def running_node(
    namespace: str, ros_args: Sequence[str], log: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the node in a namespace, with more arguments for ROS; end it after.

    What it prints goes to `log`. Its status is there once it has ended.
    """
    command = [sys.executable, '-m', 'fcn_road_seg', 'segment', '--ros-args', *ros_args]
    process = subprocess.Popen(
        [*command, '-r', f'__ns:=/{namespace}'], stdout=log, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
