import signal
import time
from array import array

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock as ClockMsg
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from fcn_road_seg.messages.image import image_msg
from fcn_road_seg.ros import frame_worker
from fcn_road_seg.ros.frame_queue import FrameQueue
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.frame_worker import FrameFilter, FrameWorker
from test.helpers.peer import Peer, values_of

RELIABLE = ('-p', 'input_reliability:=reliable')
FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_bad_message_is_refused_with_a_warning_and_the_next_good_one_segmented(connected):
    node, peer = connected()
    peer.publish(Image(encoding='bgr8', height=4, width=4, step=12, data=array('B', bytes(5))))
    peer.spin_for(0.5)
    peer.send(FRAME, encoding='nonsense')
    peer.spin_for(0.5)
    peer.answer(peer.send(FRAME))
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    assert 'frame refused: data has 5 bytes, but 4 rows of step 12 have 48' in node.log
    assert '2 refused' in node.log


def test_newest_frame_wins_and_every_other_one_is_counted(connected):
    node, peer = connected('-p', 'input_height:=256', '-p', 'input_width:=256')
    sent_before = peer._stamp
    for _ in range(40):
        last = peer.send(FRAME)
        peer.spin_for(0.01)
    peer.answer(last)
    came_back = sum(stamp > sent_before for stamp in peer.received['mask'])
    assert came_back < 40
    assert sorted(peer.received['mask']) == list(peer.received['mask'])
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    assert f'{len(peer.received["mask"])} segmented' in node.log
    assert ' 0 dropped' not in node.log


def test_nothing_is_segmented_while_nobody_listens(start_node, random_checkpoint_path):
    node = start_node(*RELIABLE, '-p', f'checkpoint:={random_checkpoint_path}')
    peer = Peer(topics=())

    def five_are_received():
        for _ in range(5):
            peer.send(FRAME)
            peer.spin_for(0.1)
        return int(values_of(peer.next_diagnostics())['frames received']) >= 5

    peer.spin_until(five_are_received)
    assert values_of(peer.next_diagnostics())['frames segmented'] == '0'
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    peer.close()
    assert ' received, 0 segmented' in node.log


def test_mask_comes_without_the_overlay_when_that_is_not_listened_to(
    connected, random_checkpoint_path
):
    _, peer = connected('-p', f'checkpoint:={random_checkpoint_path}', topics=('mask',))
    (mask,) = peer.answer(peer.send(FRAME))
    assert mask.encoding == 'mono8'


@pytest.fixture(scope='module')
def simulated(start_module_node, random_checkpoint_path):
    """A peer of a node in simulated time, which stands still at `now_s`, and so can be set."""
    checkpoint = ('-p', f'checkpoint:={random_checkpoint_path}')
    namespace = ('-r', '__ns:=/simulated')
    start_module_node(*RELIABLE, *namespace, *checkpoint, '-p', 'use_sim_time:=true')
    peer = Peer('simulated', ('mask',))
    peer.now_s = 100
    clock = peer.node.create_publisher(ClockMsg, '/clock', 10)
    peer.node.create_timer(0.02, lambda: clock.publish(ClockMsg(clock=Time(sec=peer.now_s))))
    peer.connect()
    yield peer
    peer.close()


def set_simulated_time(peer, now_s, last_stamp_s):
    """Set the time, and the stamp in s after which the next frame's comes, plus 123 ms."""
    peer.now_s, peer._stamp = now_s, last_stamp_s
    peer.received['mask'].clear()
    peer.spin_for(0.5)


def without_usable_stamp(peer):
    return int(values_of(peer.next_diagnostics())['frames without usable stamp'])


def test_latency_is_that_of_simulated_time(simulated):
    peer = simulated
    assert peer._stamp < 90
    set_simulated_time(peer, now_s=100, last_stamp_s=90)
    for _ in range(3):
        peer.answer(peer.send(FRAME))
    # Taken at 91 to 93 s: the youngest is 6.9 s old, and those that connected are older.
    latency_s = float(values_of(peer.next_diagnostics())['latency p50 (ms)']) / 1e3
    assert 6.8 < latency_s < 60


def test_frame_from_before_a_jump_back_in_time_is_segmented_without_a_latency(simulated):
    # As in a looped bag, whose clock begins again: the frame is of the future.
    peer = simulated
    set_simulated_time(peer, now_s=10, last_stamp_s=50)
    count = without_usable_stamp(peer)
    peer.answer(peer.send(FRAME))
    values = values_of(peer.next_diagnostics())
    assert int(values['frames without usable stamp']) == count + 1
    assert float(values['input rate (Hz)']) >= 0


def test_frame_without_a_stamp_is_segmented_without_a_latency(simulated):
    # Without a stamp it has no age, and not the age since the clock's zero.
    peer = simulated
    set_simulated_time(peer, now_s=10, last_stamp_s=5)
    count = without_usable_stamp(peer)
    peer.publish(image_msg(FRAME, 'bgr8', Header()))
    peer.spin_until(lambda: 0 in peer.received['mask'])
    assert without_usable_stamp(peer) == count + 1


def test_jump_ahead_of_the_clock_costs_the_frames_from_before_it_alone(simulated):
    peer = simulated
    set_simulated_time(peer, now_s=100, last_stamp_s=99)
    assert peer.set_parameter('max_image_age', double_value=5.0).successful
    peer.answer(peer.send(FRAME))
    set_simulated_time(peer, now_s=4000, last_stamp_s=100)
    too_old = int(values_of(peer.next_diagnostics())['frames too old'])
    for _ in range(3):
        peer.send(FRAME)
        peer.spin_for(0.3)
    assert int(values_of(peer.next_diagnostics())['frames too old']) == too_old + 3
    peer._stamp = 3999
    peer.answer(peer.send(FRAME))
    assert peer.set_parameter('max_image_age', double_value=0.0).successful


@pytest.fixture
def worker():
    """A worker that is not started, of a node in real time."""
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node('worker', context=context)
    yield FrameWorker(FrameQueue(), None, None, FrameStatistics(), FrameFilter(), None, node)
    node.destroy_node()
    context.try_shutdown()


def test_refusals_are_told_after_the_systems_clock_has_jumped_back(worker, monkeypatch, capfd):
    now = Clock.now
    jump_s = 0

    def now_after_the_jump(clock):
        jumps = clock.clock_type == ClockType.SYSTEM_TIME
        return now(clock) - Duration(seconds=jump_s if jumps else 0)

    monkeypatch.setattr(Clock, 'now', now_after_the_jump)
    monkeypatch.setitem(frame_worker.WARNING_THROTTLE, 'throttle_duration_sec', 0.05)
    worker._refuse('before')
    time.sleep(0.1)
    jump_s = 3600
    worker._refuse('after')
    told = capfd.readouterr().err
    assert 'frame refused: before' in told
    assert 'frame refused: after' in told


@pytest.mark.parametrize('nanosec', [0, 123_456_789])
def test_age_is_the_time_since_the_stamp_even_at_a_whole_second(worker, nanosec):
    began_ns = time.time_ns()
    stamp = Time(sec=began_ns // 1_000_000_000 - 5, nanosec=nanosec)
    stamp_ns = stamp.sec * 1_000_000_000 + nanosec
    age_s = worker._age_s(stamp)
    assert (began_ns - stamp_ns) / 1e9 <= age_s <= (time.time_ns() - stamp_ns) / 1e9
