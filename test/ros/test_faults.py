"""What happens around a live node, to its camera, its listeners and itself."""

import signal
import sys
import time
from array import array

import numpy as np
import psutil
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.msg import Parameter as ParameterMsg
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.messages.image import image_msg
from test.helpers.bystander import running_bystander
from test.helpers.load import counts_between
from test.helpers.peer import Peer, values_of

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
LARGE = np.random.default_rng(0).integers(0, 256, (375, 1242, 3), np.uint8)
# Sizes (H, W), and the shapes of the pixels in each encoding.
SIZES_HW = [(48, 64), (375, 1242), (1, 1), (33, 57), (240, 320)]
SHAPES = {'bgr8': (3,), 'mono8': (), 'rgba8': (4,), 'bayer_rggb8': (), 'rgb8': (3,)}


@pytest.fixture
def checkpoint(random_checkpoint_path):
    return ('-p', f'checkpoint:={random_checkpoint_path}')


@pytest.fixture(scope='module')
def shared(start_module_node, random_checkpoint_path):
    """A peer of a node in a namespace, so that no other test hears it."""
    checkpoint = f'checkpoint:={random_checkpoint_path}'
    reliable = 'input_reliability:=reliable'
    start_module_node('-r', '__ns:=/shared', '-p', checkpoint, '-p', reliable)
    peer = Peer('shared', ('mask',))
    peer.connect()
    yield peer
    peer.close()


@pytest.fixture
def heard(start_node, checkpoint):
    """Start a node, and a peer that only listens: `node, peer = heard('-p', 'a:=1')`."""
    peers = []

    def start(*ros_args):
        node = start_node(*checkpoint, *ros_args)
        peers.append(Peer(topics=('mask',)))
        # The camera is another process.
        peers[-1].node.destroy_publisher(peers[-1]._publisher)
        return node, peers[-1]

    yield start
    for peer in peers:
        peer.close()


def count(peer, name):
    return int(values_of(peer.next_diagnostics())[f'frames {name}'])


def test_frames_go_on_when_a_killed_camera_returns(heard):
    _, peer = heard()
    for first in (1000, 3000, 2000):
        with running_bystander('camera', '/image', '--stamp', first) as camera:
            peer.spin_until(
                lambda: any(first <= s < first + 1000 for s in peer.received['mask'])  # noqa: B023
            )
            camera.kill()
        peer.spin_until(
            lambda: [d.level for d in peer.diagnostics[-1:]] == [DiagnosticStatus.STALE]
        )
        assert peer.diagnostics[-1].message.startswith('no frame for')
    values = values_of(peer.next_diagnostics())
    assert values['frames refused'] == '0'
    assert int(values['frames segmented']) >= len(peer.received['mask']) > 0


def test_size_and_encoding_may_change_with_every_frame(shared):
    for index in range(25):
        hw = SIZES_HW[index % 5]
        encoding = list(SHAPES)[(index + index // 5) % 5]
        # Bayer patterns come in squares of four.
        hw = (48, 64) if encoding.startswith('bayer') else hw
        pixels = np.full((*hw, *SHAPES[encoding]), index, np.uint8)
        msg = Image(height=hw[0], width=hw[1], encoding=encoding, step=pixels.size // hw[0])
        msg.header.stamp.sec = stamp = 1000 + index
        msg.data = array('B', pixels.tobytes())
        shared.publish(msg)
        (mask,) = shared.answer(stamp)
        assert (mask.height, mask.width) == hw
    assert count(shared, 'refused') == 0


def test_bag_that_loops_is_segmented_again_in_every_round(shared):
    before = count(shared, 'segmented')
    for _ in range(3):
        shared.received['mask'].clear()
        shared._stamp = 5000
        for _ in range(5):
            shared.answer(shared.send(FRAME))
        assert list(shared.received['mask']) == list(range(5001, 5006))
    assert count(shared, 'segmented') == before + 15


def test_best_effort_publisher_beside_a_reliable_one_is_heard_too(start_node, checkpoint):
    start_node(*checkpoint)
    peer = Peer(topics=('mask',), reliability='reliable')
    peer.connect()
    peer.spin_until(lambda: values_of(peer.next_diagnostics())['input reliability'] == 'reliable')
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    second = peer.node.create_publisher(Image, 'image', best_effort)
    header = Header()
    header.stamp.sec = 9000

    def second_comes_back():
        second.publish(image_msg(FRAME, 'bgr8', header))
        peer.spin_for(0.1)
        return 9000 in peer.received['mask']

    peer.spin_until(second_comes_back)
    assert values_of(peer.next_diagnostics())['input reliability'] == 'best_effort'
    peer.answer(peer.send(FRAME))
    peer.close()


def overhead_ms(peer):
    return float(values_of(peer.next_diagnostics())['overhead p50 (ms)'])


def send_until_heard(peer, listener):
    """Send frames until a listener of the overlay has got one; return the overhead of a frame."""
    before = values_of(peer.next_diagnostics())['published overlay']
    while values_of(peer.next_diagnostics())['published overlay'] == before:
        peer.answer(peer.send(LARGE))
    listener.stdout.readline()
    return overhead_ms(peer)


def send_beside_a_bad_listener(peer, overhead_before_ms):
    """Send more frames than the 5 that wait for a listener; fail if a mask of one is missing."""
    for _ in range(15):
        peer.answer(peer.send(LARGE))
    # A publisher that waited for the listener would wait 100 ms.
    assert overhead_ms(peer) < overhead_before_ms + 90


def test_slow_listener_costs_the_others_no_frame(shared):
    words = ('listener', '/shared/fcn_road_seg/overlay', '--pause', 1)
    with running_bystander(*words) as listener:
        send_beside_a_bad_listener(shared, send_until_heard(shared, listener))


@pytest.mark.parametrize('number', [signal.SIGSTOP, signal.SIGKILL])
def test_listener_that_is_stopped_or_killed_costs_the_others_no_frame(
    monkeypatch, connected, checkpoint, number
):
    # In shared memory, Fast DDS waits for what such a process holds (see docs/reliability.md).
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    _, peer = connected(*checkpoint, topics=('mask',))
    with running_bystander('listener', '/fcn_road_seg/overlay') as listener:
        before_ms = send_until_heard(peer, listener)
        listener.send_signal(number)
        send_beside_a_bad_listener(peer, before_ms)
    peer.answer(peer.send(LARGE))


def test_node_that_was_killed_starts_again_beside_what_it_left(start_node, checkpoint):
    for _ in range(2):
        node = start_node(*checkpoint)
        peer = Peer(topics=('mask',))
        peer.connect()
        peer.answer(peer.send(FRAME))
        assert node.end(signal.SIGKILL, timeout_s=10) == -signal.SIGKILL
        peer.close()
    node = start_node(*checkpoint)
    peer = Peer(topics=('mask',))
    peer.connect()
    peer.answer(peer.send(LARGE))
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=10) == 0


def test_parameter_set_wrongly_while_frames_come_costs_none(shared):
    refused = count(shared, 'refused')
    for name, value in (
        ('threshold', {'double_value': 7.0}),
        ('overlay_color', {'integer_array_value': [1, 2]}),
        ('max_image_age', {'string_value': 'soon'}),
        ('device', {'string_value': 'cuda'}),
        ('nonsense', {'bool_value': True}),
    ):
        stamp = shared.send(FRAME)
        result = shared.set_parameter(name, **value)
        assert not result.successful
        assert result.reason
        shared.answer(stamp)
    assert count(shared, 'refused') == refused


def test_parameter_of_a_type_that_ros_does_not_have_is_refused(shared):
    asked = [
        ParameterMsg(name='threshold', value=ParameterValue(type=3, double_value=0.9)),
        ParameterMsg(name='min_region', value=ParameterValue(type=99)),
    ]
    results = shared.call(SetParameters, 'set_parameters', parameters=asked).results
    words = 'set_parameters_atomically'
    together = shared.call(SetParametersAtomically, words, parameters=asked).result
    reason = "'min_region' has the unknown type 99; use one of rcl_interfaces/msg/ParameterType"
    assert [(r.successful, r.reason) for r in (*results, together)] == [(False, reason)] * 3
    (threshold,) = shared.call(GetParameters, 'get_parameters', names=['threshold']).values
    assert threshold.double_value == 0


# The node, whose pipeline fails as that of a GPU does while a file exists.
FAILING = """
import pathlib, sys, torch
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
run, broken = CpuPipeline.run, pathlib.Path({broken!r})

def fail(*args, **kwargs):
    if broken.exists():
        raise {error}
    return run(*args, **kwargs)

CpuPipeline.run = fail
from fcn_road_seg.commands.segment import main
raise SystemExit(main(sys.argv))
"""
ERRORS = {
    'out of memory': "torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 MiB.')",
    'lost': "RuntimeError('CUDA error: unspecified launch failure\\nCompile with ...')",
}


@pytest.mark.parametrize('error', ERRORS)
def test_frames_that_a_gpu_fails_are_refused_and_the_others_segmented(
    connected, checkpoint, tmp_path, error
):
    broken = tmp_path / 'broken'
    program = FAILING.format(broken=str(broken), error=ERRORS[error])
    node, peer = connected(*checkpoint, command=(sys.executable, '-c', program), topics=('mask',))
    broken.touch()
    for _ in range(3):
        peer.send(FRAME)
        peer.spin_for(0.5)
    status = peer.next_diagnostics()
    assert status.level == DiagnosticStatus.ERROR
    name = ERRORS[error].partition('(')[0].rpartition('.')[2]
    assert f'frames refused: {name}: CUDA' in status.message
    assert values_of(status)['frames refused'] == '3'
    assert peer.state() == 'active'
    broken.unlink()
    peer.answer(peer.send(FRAME))
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    assert '3 refused' in node.log


ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from fcn_road_seg.commands.segment import main
raise SystemExit(main(sys.argv))
"""


def test_one_core_is_enough_for_frames_services_and_a_quick_end(connected):
    size = ('-p', 'input_height:=192', '-p', 'input_width:=640')
    command = (sys.executable, '-c', ON_ONE_CORE)
    node, peer = connected(*size, command=command, topics=('mask',))
    assert len(psutil.Process(node.process.pid).cpu_affinity()) == 1
    before = values_of(peer.next_diagnostics())
    for _ in range(20):
        last = peer.send(LARGE)
        peer.spin_for(0.05)
    assert peer.state() == 'active'
    peer.answer(last)
    counts = counts_between(before, values_of(peer.next_diagnostics()))
    assert counts['received'] + counts['lost'] == 20
    assert counts['segmented'] + counts['dropped'] == counts['received']
    begin_s = time.monotonic()
    assert node.end(signal.SIGTERM, timeout_s=10) == 0
    assert time.monotonic() - begin_s < 2.0
