import signal
from array import array

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from rcl_interfaces.srv import DescribeParameters
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from fcn_road_seg.messages.image import image_msg
from fcn_road_seg.ros.parameters import PARAMETERS
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.peer import Peer, iou_of, pixels_of, values_of

RELIABLE = ('-p', 'input_reliability:=reliable')
LARGE = ('-p', 'input_height:=352', '-p', 'input_width:=1216')
FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope='module')
def shared_peer(start_module_node):
    """A peer of a node at its defaults, in a namespace so that no other test hears it."""
    start_module_node(*RELIABLE, '-r', '__ns:=/shared')
    peer = Peer(namespace='shared')
    peer.connect()
    yield peer
    peer.close()


def test_masks_of_rendered_scenes_are_right_and_keep_their_frames_header_and_size(shared_peer):
    peer = shared_peer
    ious = []
    for seed, hw in ((3_000_002, (375, 1242)), (3_000_003, (240, 320)), (3_000_004, (360, 480))):
        frame, label = SyntheticDrive(seed, hw).render(t_s=1.0)
        mask, overlay = peer.answer(peer.send(frame))
        for msg, encoding, bytes_a_pixel in ((mask, 'mono8', 1), (overlay, 'bgr8', 3)):
            stamp = msg.header.stamp
            assert msg.header.frame_id == f'camera_{stamp.sec}'
            assert stamp.nanosec == 123_456_789
            assert (msg.height, msg.width) == hw
            assert msg.encoding == encoding
            assert msg.step == hw[1] * bytes_a_pixel
        road = pixels_of(mask)
        assert set(np.unique(road)) == {0, 255}
        expected = np.where(road[..., None] > 0, frame * 0.6 + np.array([0, 255, 0]) * 0.4, frame)
        assert np.abs(pixels_of(overlay) - expected).max() <= 1
        ious.append(iou_of(road, label))
    assert min(ious) > 0.8


def test_encodings_of_one_picture_give_one_mask(shared_peer):
    peer = shared_peer
    frame, _ = SyntheticDrive(3_000_003, (120, 160)).render(t_s=0.0)
    bgr, _ = peer.answer(peer.send(frame))
    rgb, rgb_overlay = peer.answer(peer.send(np.ascontiguousarray(frame[..., ::-1]), 'rgb8'))
    assert pixels_of(bgr).any()
    assert np.array_equal(pixels_of(bgr), pixels_of(rgb))
    assert rgb_overlay.encoding == 'bgr8'


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


def test_newest_frame_wins_and_every_other_one_is_counted(connected, random_checkpoint_path):
    size = ('-p', 'input_height:=256', '-p', 'input_width:=256')
    node, peer = connected('-p', f'checkpoint:={random_checkpoint_path}', *size)
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
    peer.spin_until(peer.is_heard)
    for _ in range(5):
        peer.send(FRAME)
        peer.spin_for(0.1)
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    peer.close()
    assert '5 received, 0 segmented' in node.log


def test_mask_comes_without_the_overlay_when_that_is_not_listened_to(
    connected, random_checkpoint_path
):
    _, peer = connected('-p', f'checkpoint:={random_checkpoint_path}', topics=('mask',))
    (mask,) = peer.answer(peer.send(FRAME))
    assert mask.encoding == 'mono8'


def test_dynamic_parameters_hold_from_the_next_frame_on(shared_peer):
    peer = shared_peer
    frame, _ = SyntheticDrive(3_000_004, (120, 160)).render(t_s=0.0)
    for color_rgb in ([255, 0, 0], [0, 0, 255]):
        assert peer.set_parameter('overlay_color', integer_array_value=color_rgb).successful
        assert peer.set_parameter('overlay_alpha', double_value=1.0).successful
        mask, overlay = map(pixels_of, peer.answer(peer.send(frame)))
        assert (overlay[mask > 0] == color_rgb[::-1]).all()
    shares = []
    for threshold in (0.001, 0.0, 0.999):
        assert peer.set_parameter('threshold', double_value=threshold).successful
        mask, _ = map(pixels_of, peer.answer(peer.send(frame)))
        shares.append(np.mean(mask > 0))
    assert shares[0] > shares[1] > shares[2]


def test_parameter_that_cannot_be_set_is_refused_with_the_reason(shared_peer):
    peer = shared_peer
    for name, value, reason in (
        ('threshold', {'double_value': 1.5}, 'threshold'),
        ('overlay_color', {'integer_array_value': [1, 2]}, 'overlay_color [1, 2] has not 3 items'),
        ('overlay_color', {'integer_array_value': [1, 2, 300]}, '300 is too large'),
        ('device', {'string_value': 'cpu'}, 'read-only'),
    ):
        result = peer.set_parameter(name, **value)
        assert not result.successful
        assert reason in result.reason


def test_every_parameter_describes_itself(shared_peer):
    peer = shared_peer
    names = [parameter.name for parameter in PARAMETERS]
    described = peer.call(DescribeParameters, 'describe_parameters', names=names).descriptors
    for parameter, descriptor in zip(PARAMETERS, described, strict=True):
        assert descriptor.description == parameter.description
        assert descriptor.read_only is not parameter.dynamic
        for bounds in (*descriptor.integer_range, *descriptor.floating_point_range):
            assert (bounds.from_value, bounds.to_value) == (parameter.minimum, parameter.maximum)


def test_manager_configures_activates_deactivates_cleans_up_and_again(
    start_node, random_checkpoint_path
):
    checkpoint = ('-p', f'checkpoint:={random_checkpoint_path}')
    node = start_node(*RELIABLE, *checkpoint, '-p', 'autostart:=false')
    peer = Peer(topics=('mask',))
    assert peer.state() == 'unconfigured'
    for _ in range(2):
        assert peer.transition('configure')
        assert peer.state() == 'inactive'
        assert not peer.is_heard()
        assert peer.transition('activate')
        peer.received['mask'].clear()
        peer.connect()
        peer.answer(peer.send(FRAME))
        assert peer.transition('deactivate')
        peer.spin_until(lambda: not peer.is_heard())
        assert peer.transition('cleanup')
        assert peer.state() == 'unconfigured'
    status = peer.next_diagnostics()
    assert (status.level, status.message) == (DiagnosticStatus.OK, 'unconfigured')
    assert values_of(status)['device'] == 'n/a'
    assert peer.transition('shutdown')
    peer.close()
    assert node.wait(timeout_s=5) == 0
    assert 'Traceback' not in node.log
    assert node.log.count('warmed up in') == 2


def test_transition_that_the_state_does_not_have_is_refused_and_the_node_lives(
    start_node, random_checkpoint_path
):
    checkpoint = ('-p', f'checkpoint:={random_checkpoint_path}')
    node = start_node(*RELIABLE, *checkpoint, '-p', 'autostart:=false')
    peer = Peer(topics=())
    assert not peer.transition('activate')
    assert peer.state() == 'unconfigured'
    assert peer.transition('configure')
    assert node.end(signal.SIGTERM, timeout_s=5) == 0
    peer.close()


def test_configuring_that_fails_is_a_failed_transition_and_can_be_tried_again(
    start_node, random_checkpoint_path, tmp_path
):
    checkpoint = tmp_path / 'late.safetensors'
    node = start_node('-p', f'checkpoint:={checkpoint}', '-p', 'autostart:=false')
    peer = Peer(topics=())
    assert not peer.transition('configure')
    assert peer.state() == 'unconfigured'
    checkpoint.write_bytes(random_checkpoint_path.read_bytes())
    assert peer.transition('configure')
    assert peer.state() == 'inactive'
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    assert f'transition failed: {checkpoint} does not exist' in node.log


def test_services_answer_while_a_frame_is_segmented(connected, random_checkpoint_path):
    size = ('-p', 'input_height:=704', '-p', 'input_width:=2432')
    checkpoint = ('-p', f'checkpoint:={random_checkpoint_path}')
    _, peer = connected(*checkpoint, *size, '-p', 'num_threads:=1', topics=('mask',))
    assert peer.state() == 'active'
    stamp = peer.send(FRAME)
    peer.spin_for(0.3)
    assert stamp not in peer.received['mask']
    assert peer.state() == 'active'
    assert stamp not in peer.received['mask']
    peer.answer(stamp)


def test_disabled_node_segments_nothing_and_says_so(shared_peer):
    peer = shared_peer
    assert peer.call(SetBool, 'enable', data=False).success
    before = values_of(peer.next_diagnostics())
    peer.send(FRAME)
    peer.spin_for(0.5)
    status = peer.next_diagnostics()
    values = values_of(status)
    assert (status.level, status.message) == (DiagnosticStatus.OK, 'disabled')
    assert values['enabled'] == 'false'
    assert int(values['frames ignored']) == int(before['frames ignored']) + 1
    assert values['frames segmented'] == before['frames segmented']
    assert peer.call(SetBool, 'enable', data=True).success
    peer.answer(peer.send(FRAME))


def test_diagnostics_tell_input_output_refusals_and_silence(shared_peer):
    peer = shared_peer
    peer.answer(peer.send(FRAME))
    status = peer.next_diagnostics()
    values = values_of(status)
    assert values['input topic'] == '/shared/image'
    assert values['state'] == 'active'
    assert values['device'] == status.hardware_id == 'cpu'
    assert len(values['checkpoint']) == 12
    assert float(values['inference p50 (ms)']) > 0
    # The peer's stamps are of 1970.
    assert values['frames without usable stamp'] == values['frames segmented']
    peer.send(FRAME, encoding='nonsense')
    peer.spin_until(lambda: peer.diagnostics[-1].level == DiagnosticStatus.ERROR)
    assert "encoding 'nonsense'" in peer.diagnostics[-1].message
    peer.spin_until(lambda: peer.diagnostics[-1].level == DiagnosticStatus.STALE)
    assert peer.diagnostics[-1].message.startswith('no frame for')


def test_diagnostics_come_once_a_second(shared_peer):
    peer = shared_peer
    peer.next_diagnostics()
    count = len(peer.diagnostics)
    peer.spin_for(4.0)
    assert 3 <= len(peer.diagnostics) - count <= 5


def test_frame_older_than_the_limit_is_counted_and_not_segmented(shared_peer):
    peer = shared_peer
    before = values_of(peer.next_diagnostics())
    assert peer.set_parameter('max_image_age', double_value=1.0).successful
    peer.send(FRAME)
    peer.spin_for(0.5)
    after = values_of(peer.next_diagnostics())
    assert int(after['frames too old']) == int(before['frames too old']) + 1
    assert after['frames segmented'] == before['frames segmented']
    assert peer.set_parameter('max_image_age', double_value=0.0).successful
    peer.answer(peer.send(FRAME))


def test_latency_is_right_under_simulated_time_and_a_stamp_that_jumps_back(
    start_node, random_checkpoint_path
):
    start_node(
        *(*RELIABLE, '-p', f'checkpoint:={random_checkpoint_path}', '-p', 'use_sim_time:=true')
    )
    peer = Peer(topics=('mask',))
    clock = peer.node.create_publisher(Clock, '/clock', 10)
    now = Clock()
    # Frames are stamped 1, 2, 3 ... s and 123 ms; the simulated clock stands still at 100 s.
    now.clock.sec = 100
    timer = peer.node.create_timer(0.02, lambda: clock.publish(now))
    peer.connect()
    assert peer._stamp < 90
    peer._stamp = 90
    for _ in range(3):
        peer.answer(peer.send(FRAME))
    values = values_of(peer.next_diagnostics())
    # Taken at 91 to 93 s, at 100 s: the oldest is 8.9 s old.
    assert 6.8 < float(values['latency p50 (ms)']) / 1e3 < 60
    # A looped bag: the clock and the stamps begin again, the frame from before is of the future.
    now.clock.sec = 10
    peer.spin_for(0.5)
    without = int(values_of(peer.next_diagnostics())['frames without usable stamp'])
    peer._stamp = 50
    peer.answer(peer.send(FRAME))
    status = peer.next_diagnostics()
    assert int(values_of(status)['frames without usable stamp']) == without + 1
    assert float(values_of(status)['input rate (Hz)']) >= 0
    # No stamp is no age, not one since the clock's zero.
    peer.publish(image_msg(FRAME, 'bgr8', Header()))
    peer.spin_until(lambda: 0 in peer.received['mask'])
    values = values_of(peer.next_diagnostics())
    assert int(values['frames without usable stamp']) == without + 2
    timer.cancel()
    peer.close()


def test_two_nodes_in_namespaces_work_side_by_side(start_node, random_checkpoint_path):
    peers = []
    for namespace in ('left', 'right'):
        start_node('-r', f'__ns:=/{namespace}', '-p', f'checkpoint:={random_checkpoint_path}')
        peers.append(Peer(namespace, ('mask',)))
    for peer in peers:
        peer.connect()
    sizes_hw = ((40, 60), (48, 64))
    stamps = [
        peer.send(np.zeros((*size_hw, 3), np.uint8))
        for peer, size_hw in zip(peers, sizes_hw, strict=True)
    ]
    for peer, stamp, size_hw in zip(peers, stamps, sizes_hw, strict=True):
        (mask,) = peer.answer(stamp)
        assert (mask.height, mask.width) == size_hw
        assert values_of(peer.next_diagnostics())['frames refused'] == '0'
    for peer in peers:
        peer.close()
