"""The node as a process of its own."""

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
    namespace: str, parameters: Sequence[str], log: IO[str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the node in a namespace, with `parameters`, each NAME:=VALUE; end it after the block.

    If a parameter is given twice, the later value counts. The node's output goes to `log`.
    The process has its `returncode` once the block has ended.
    """
    command = [sys.executable, '-m', 'fcn_road_seg', 'segment']
    command += ['--ros-args', '-r', f'__ns:=/{namespace}']
    command += [word for parameter in parameters for word in ('-p', parameter)]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
