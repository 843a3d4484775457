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

PORTS = (
    *('port', 'dashboard-agent-grpc-port', 'dashboard-agent-listen-port', 'metrics-export-port'),
    'runtime-env-agent-port',
)


@pytest.fixture(scope='module')
def cluster_address() -> Iterator[str]:
    """Start a Ray cluster of two CPUs on this machine, connect to it, and return its address."""
    ray = pytest.importorskip('ray', reason='ray is not installed')
    # With ports that it chooses itself, Ray ends if one is not known in 15 s, as on a busy machine
    # (ray-project/ray issue 65983).
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket()) for _ in PORTS]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        ports = [each.getsockname()[1] for each in sockets]
    options = [f'--{name}={port}' for name, port in zip(PORTS, ports, strict=True)]
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name('ray')), 'start', '--head', '--block', *options),
            *('--num-cpus=2', '--include-dashboard=false', '--disable-usage-stats'),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert any('Ray runtime started' in line for line in head.stdout)
        address = f'127.0.0.1:{ports[0]}'
        ray.init(address, log_to_driver=False)
        yield address
    finally:
        ray.shutdown()
        head.terminate()
        head.communicate(timeout=60)
