"""The road on the ground, from a live node beside a camera that publishes camera_info."""

import signal

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import OccupancyGrid
from sensor_msgs.msg import CameraInfo

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.corridor import find_corridor
from fcn_road_seg.ground.grid import GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from test.helpers.peer import Peer, pixels_of, values_of

# Square, as the frames with which a peer connects: these count as binned.
HW = (128, 128)
K = [80.0, 0, 63.5, 0, 80.0, 40.0, 0, 0, 1]
FRAME = np.random.default_rng(0).integers(0, 256, (*HW, 3), np.uint8)
TOPICS = ('mask', 'road_probability', 'grid', 'points', 'corridor')


def publish_camera_info(peer, **changes):
    publisher = peer.node.create_publisher(CameraInfo, 'camera_info', 1)
    msg = CameraInfo(**{'height': HW[0], 'width': HW[1], 'k': K, **changes})
    return peer.node.create_timer(0.05, lambda: publisher.publish(msg))


@pytest.fixture(scope='module')
def peer(start_module_node, random_checkpoint_path):
    start_module_node(
        *('-r', '__ns:=/ground', '-p', 'input_reliability:=reliable'),
        *('-p', f'checkpoint:={random_checkpoint_path}', '-p', 'camera_height:=1.5'),
    )
    peer = Peer('ground', TOPICS)
    publish_camera_info(peer)
    peer.connect()
    yield peer
    peer.close()


def view(pitch=0.0):
    camera = Camera(np.reshape(K, (3, 3)), HW)
    return GroundView(camera, Mounting.from_angles(1.5, pitch, 0.0), GroundGrid())


def cells_of(msg):
    return np.reshape(msg.data, (msg.info.height, msg.info.width))


def test_grid_is_the_probability_looked_up_on_the_ground(peer):
    stamp = peer.send(FRAME)
    _, probability, grid, *_ = peer.answer(stamp)
    assert grid.header.frame_id == 'ground'
    assert (grid.header.stamp.sec, grid.header.stamp.nanosec) == (stamp, 123_456_789)
    assert (grid.info.width, grid.info.height) == (400, 200)
    assert grid.info.resolution == pytest.approx(0.1)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == (6, -10)
    cells = cells_of(grid)
    np.testing.assert_array_equal(cells, view().occupancy(pixels_of(probability)))
    assert len(np.unique(cells)) > 10


def test_points_are_those_of_the_masks_pixels_in_the_cameras_frame(peer):
    stamp = peer.send(FRAME)
    mask, _, _, points, _ = peer.answer(stamp)
    assert points.header == mask.header
    assert (points.height, points.width) == (mask.height, mask.width)
    xyz = np.frombuffer(points.data, '<f4').reshape(*HW, 3)
    assert np.isnan(xyz[:41]).all()
    # Row 60 is 20 below the horizon: 1.5 * 80 / 20 = 6 m.
    np.testing.assert_allclose(xyz[60, 63:65], [[-0.0375, 1.5, 6], [0.0375, 1.5, 6]], rtol=1e-5)


def test_corridor_is_that_of_the_grid(peer):
    stamp = peer.send(FRAME)
    *_, grid, _, path = peer.answer(stamp)
    assert path.header == grid.header
    corridor = find_corridor(cells_of(grid), GroundGrid())
    assert [pose.pose.position.x for pose in path.poses] == corridor.x_m.tolist()
    assert [pose.pose.position.y for pose in path.poses] == corridor.centre_m.tolist()


def test_pitch_can_be_changed_while_the_node_runs(peer):
    assert peer.set_parameter('camera_pitch', double_value=0.1).successful
    _, probability, grid, *_ = peer.answer(peer.send(FRAME))
    np.testing.assert_array_equal(cells_of(grid), view(0.1).occupancy(pixels_of(probability)))
    assert peer.set_parameter('camera_pitch', double_value=0.0).successful


def test_grid_is_not_made_when_nobody_listens(peer):
    peer.stop_listening('grid')
    peer.spin_for(1.0)
    before = values_of(peer.next_diagnostics())
    peer.answer(peer.send(FRAME))
    after = values_of(peer.next_diagnostics())
    assert after['published grid'] == before['published grid']
    assert int(after['published points']) == int(before['published points']) + 1


def test_masks_go_on_without_a_calibration_and_diagnostics_say_why(
    start_node, random_checkpoint_path
):
    node = start_node(
        *('-r', '__ns:=/blind', '-p', 'input_reliability:=reliable'),
        *('-p', f'checkpoint:={random_checkpoint_path}', '-p', 'camera_height:=1.5'),
    )
    peer = Peer('blind', ('mask',))
    peer.connect()
    grids = []
    peer.node.create_subscription(OccupancyGrid, 'fcn_road_seg/grid', grids.append, 5)
    publish_camera_info(peer, k=[0.0] * 9)
    peer.node.create_timer(0.3, lambda: peer.send(FRAME))
    masks = len(peer.received['mask'])
    peer.spin_for(4.0)
    diagnosis = peer.next_diagnostics()
    values = values_of(diagnosis)
    problem = 'the camera matrix K of camera_info is all zero: calibrate the camera with camera_ca'
    assert values['ground problem'].startswith(problem)
    assert int(values['frames without ground']) >= 3
    assert len(peer.received['mask']) > masks + 3
    assert values['published grid'] == '0'
    assert grids == []
    assert diagnosis.level == DiagnosticStatus.WARN
    assert problem in diagnosis.message
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=5) == 0
    assert node.log.count(f'no grid, points or corridor: {problem}') == 1


@pytest.mark.parametrize(
    ('parameter', 'text'),
    [
        ('camera_height:=-1.2', 'camera_height'),
        ('camera_pitch:=-1.0', 'camera_pitch'),
        ('grid_resolution:=0.0005', 'the grid has 3.2e+09 cells; use at most 4000000'),
        ('grid_x_max:=2.0', 'the grid from 6 to 2 m, 20 m wide, with cells of 0.1 m is empty'),
        ('camera_height:=.nan', 'camera_height'),
    ],
)
def test_bad_parameter_ends_the_start_in_one_line(start_node, parameter, text):
    node = start_node('-r', '__ns:=/refused', '-p', parameter)
    assert node.wait(timeout_s=30) == 1
    lines = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert len(lines) == 1
    assert text in lines[0]
    assert 'Traceback' not in node.log
