"""One small Ray cluster for the tests that need one: it takes seconds to start."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import socket
from uuid import uuid4

import pytest

# Others in the network shall not use the cluster. Ray reads this when it is imported.
os.environ |= {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': uuid4().hex}

# A cluster beside it, of the same machine, may have the usual ones.
PORTS = ('port', 'ray-client-server-port')


@pytest.fixture(scope='module')
def cluster_address() -> Iterator[str]:
    """Start a Ray cluster of two CPUs on this machine, connect to it, and return its address."""
    ray = pytest.importorskip('ray', reason='ray is not installed')
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket()) for _ in PORTS]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        ports = [each.getsockname()[1] for each in sockets]
    options = [f'--{name}={port}' for name, port in zip(PORTS, ports, strict=True)]
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name('ray')), 'start', '--head', '--block', *options),
            *('--num-cpus=2', '--dashboard-agent-listen-port=0', '--disable-usage-stats'),
            # Each process less imports Ray for seconds less.
            *('--include-dashboard=false', '--no-monitor', '--include-log-monitor='),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed = ''
        while 'Ray runtime started' not in printed:
            if not (line := head.stdout.readline()):
                _refuse(head.wait(timeout=60), printed)
            printed += line
        address = f'127.0.0.1:{ports[0]}'
        ray.init(address, log_to_driver=False)
        yield address
    finally:
        ray.shutdown()
        head.terminate()
        head.communicate(timeout=60)


def _refuse(status: int, printed: str) -> None:
    """Fail if the command line is wrong; skip if Ray gives up.

    It does if one of its processes needs more than 15 s to start, as on a busy machine, which no
    option changes (ray-project/ray issue 65983).
    """
    assert status != 2, printed
    pytest.skip(f'Ray does not start on this machine: {printed.strip().splitlines()[-1]}')
