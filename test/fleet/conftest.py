"""One small Ray cluster for the tests that need one: it takes seconds to start."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import pytest

PORTS = (
    *('port', 'dashboard-agent-grpc-port', 'dashboard-agent-listen-port', 'metrics-export-port'),
    'runtime-env-agent-port',
)


@pytest.fixture(scope='package')
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
            *('--node-ip-address=127.0.0.1', '--num-cpus=2', '--include-dashboard=false'),
            '--disable-usage-stats',
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        address = f'127.0.0.1:{ports[0]}'
        while True:
            assert head.poll() is None
            try:
                ray.init(address, log_to_driver=False)
                break
            except ConnectionError:
                time.sleep(1)
        yield address
    finally:
        ray.shutdown()
        head.terminate()
        head.wait(60)
