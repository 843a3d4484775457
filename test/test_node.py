import signal
import time
from array import array

import numpy as np
import pytest
from peer import Peer, iou_of, pixels_of
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters
from sensor_msgs.msg import Image

from fcn_road_seg.parameters import PARAMETERS
from fcn_road_seg.synthetic import SyntheticDrive

RELIABLE = ('-p', 'input_reliability:=reliable')
FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def connected(start_node):
    """Start a node and connect a peer: `node, peer = connected('-p', 'device:=cpu')`."""
    peers = []

    def connect(*ros_args, **peer_args):
        node = start_node(*RELIABLE, *ros_args)
        peers.append(Peer(**peer_args))
        peers[-1].connect()
        return node, peers[-1]

    yield connect
    for peer in peers:
        peer.close()


@pytest.fixture(scope='module')
def shared_peer(start_module_node):
    """A peer of a node at its defaults, in a namespace so that no other test hears it."""
    start_module_node(*RELIABLE, '-r', '__ns:=/shared')
    peer = Peer(namespace='shared')
    peer.connect()
    yield peer
    peer.close()


def call(peer, service_type, name, **request):
    client = peer.node.create_client(service_type, f'fcn_road_seg/{name}')
    peer.spin_until(client.service_is_ready)
    future = client.call_async(service_type.Request(**request))
    peer.spin_until(future.done)
    return future.result()


def set_parameter(peer, name, **value):
    type_of = {'double_value': 3, 'integer_value': 2, 'string_value': 4, 'integer_array_value': 7}
    (field,) = value
    parameter = Parameter(name=name, value=ParameterValue(type=type_of[field], **value))
    (result,) = call(peer, SetParameters, 'set_parameters', parameters=[parameter]).results
    return result


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
    assert f'{len(peer.received["mask"])} frames segmented' in node.log
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
    assert '0 frames segmented' in node.log


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
        assert set_parameter(peer, 'overlay_color', integer_array_value=color_rgb).successful
        assert set_parameter(peer, 'overlay_alpha', double_value=1.0).successful
        mask, overlay = map(pixels_of, peer.answer(peer.send(frame)))
        assert (overlay[mask > 0] == color_rgb[::-1]).all()
    shares = []
    for threshold in (0.001, 0.0, 0.999):
        assert set_parameter(peer, 'threshold', double_value=threshold).successful
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
        result = set_parameter(peer, name, **value)
        assert not result.successful
        assert reason in result.reason


def test_every_parameter_describes_itself(shared_peer):
    peer = shared_peer
    names = [parameter.name for parameter in PARAMETERS]
    described = call(peer, DescribeParameters, 'describe_parameters', names=names).descriptors
    for parameter, descriptor in zip(PARAMETERS, described, strict=True):
        assert descriptor.description == parameter.description
        assert descriptor.read_only is not parameter.dynamic
        for bounds in (*descriptor.integer_range, *descriptor.floating_point_range):
            assert (bounds.from_value, bounds.to_value) == (parameter.minimum, parameter.maximum)


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_signal_in_mid_inference_ends_it_with_status_0_within_2_s(
    connected, random_checkpoint_path, signal_number
):
    size = ('-p', 'input_height:=352', '-p', 'input_width:=1216')
    node, peer = connected('-p', f'checkpoint:={random_checkpoint_path}', *size)
    for _ in range(3):
        peer.send(FRAME)
    peer.spin_for(0.1)
    start = time.monotonic()
    assert node.end(signal_number, timeout_s=10) == 0
    assert time.monotonic() - start < 2.0
    assert 'Traceback' not in node.log
    assert 'frames segmented' in node.log


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_network_loads_ends_it_with_status_0(start_node, signal_number):
    node = start_node()
    # By then rclpy has its handlers, and PyTorch is being imported.
    time.sleep(1.5)
    assert node.end(signal_number, timeout_s=10) == 0
    assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('ros_args', 'reason'),
    [
        (('-p', 'checkpoint:=/nowhere.safetensors'), '/nowhere.safetensors does not exist'),
        (('-p', 'device:=cuda:99'), "device 'cuda:99' is not here"),
        (('-p', 'input_height:=100', '-p', 'input_width:=100'), 'in steps of 32'),
        (('-p', 'overlay_alpha:=1'), 'overlay_alpha is a decimal number'),
    ],
)
def test_node_that_cannot_start_says_why_in_one_line_and_fails(start_node, ros_args, reason):
    node = start_node(*ros_args)
    assert node.wait(timeout_s=30) == 1
    (line,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert reason in line
    assert 'Traceback' not in node.log
