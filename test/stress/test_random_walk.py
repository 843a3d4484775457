"""Everything that may change about a node, in random order, while frames come."""

import signal

import pytest

pytest.importorskip('rclpy')

from test.helpers.peer import Peer
from test.helpers.random_walk import NODE_ARGS, Camera, RandomWalk

pytestmark = pytest.mark.stress

CHECK_EVERY = 25


def test_node_keeps_its_word_whatever_changes_in_which_order(
    start_node, wide_checkpoint_path, times, report
):
    args = [f'checkpoint:={wide_checkpoint_path}', *NODE_ARGS]
    node = start_node(*(word for arg in args for word in ('-p', arg)))
    peer, camera = Peer(topics=()), Camera()
    peer.node.destroy_publisher(peer._publisher)
    walk = RandomWalk(peer, camera, wide_checkpoint_path, seed=0)
    checks = times(200)
    try:
        for _ in range(checks):
            for _ in range(CHECK_EVERY):
                walk.step()
            walk.check()
    finally:
        camera.close()
        peer.close()
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    errors = [line for line in node.log.splitlines() if 'Traceback' in line or '[ERROR]' in line]
    assert [line for line in errors if 'do not fit together' not in line] == []
    report(
        'random changes of a live node at 100 frames/s',
        checks * CHECK_EVERY,
        f'transitions, parameters, listeners, calibrations and reliabilities; no frame refused, '
        f'{walk.masks_compared} masks compared, all right',
    )
