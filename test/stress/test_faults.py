"""A node that is killed with SIGKILL, over and over."""

import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')

from test.helpers.peer import Peer

pytestmark = pytest.mark.stress

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def shared_memory():
    return {path: path.stat().st_size for path in Path('/dev/shm').glob('fast*')}


def test_node_killed_at_any_moment_leaves_nothing_that_breaks_the_next_one(
    start_node, wide_checkpoint_path, times, report
):
    checkpoint = ('-p', f'checkpoint:={wide_checkpoint_path}')
    rng = random.Random(0)
    before = shared_memory()
    kills = times(20)
    for _ in range(kills):
        node = start_node(*checkpoint)
        # It takes seconds until it segments.
        time.sleep(rng.uniform(0.0, 15.0))
        assert node.end(signal.SIGKILL, timeout_s=10) == -signal.SIGKILL
    left = {path: size for path, size in shared_memory().items() if path not in before}
    node = start_node(*checkpoint)
    peer = Peer(topics=('mask',))
    peer.connect()
    peer.answer(peer.send(FRAME))
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    report(
        'kill -9 of a node, while it starts or waits',
        kills,
        f'the next one starts and segments; {len(left)} files with '
        f'{sum(left.values()) / 2**20:.1f} MiB left in /dev/shm',
    )
