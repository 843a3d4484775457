"""The playback launch file, started for real, with players and viewers that stand for ROS's."""

from importlib.util import find_spec

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import Image

from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.camera_bags import PERIOD_NS, START_NS, jpeg_msgs, raw_msgs, write_bag
from test.helpers.launched import REPOSITORY
from test.helpers.peer import Peer, iou_of, pixels_of

CAMERA = '/kitti/camera_color_left'
SET_IMAGE = 'set image to one of its image topics (/a, /b)'
QOS_FILE = REPOSITORY / 'config' / 'kitti_qos.yaml'
PLAYBACK = REPOSITORY / 'launch' / 'kitti_playback.launch.py'
# What is given in a group is forgotten behind it.
GROUP = """
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

def generate_launch_description():
    source = PythonLaunchDescriptionSource({file!r})
    given = {given}.items()
    return LaunchDescription(
        [GroupAction([IncludeLaunchDescription(source, launch_arguments=given)])]
    )
"""
pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ('launch', 'launch_ros')),
    reason='launch and launch_ros come with ROS 2, not PyPI',
)


@pytest.fixture(scope='module')
def scenes():
    """Frames and labels of a drive of 2 s."""
    drive = SyntheticDrive(3_000_005, (240, 320))
    return [drive.render(t_s=i / 10) for i in range(20)]


@pytest.fixture
def peer():
    """A listener: `peer.masks` are by stamps in ns, in the order in which they came."""
    peer = Peer(topics=())
    peer.masks = {}
    peer.clock_s = []
    peer.node.create_subscription(
        Image, '/fcn_road_seg/mask', lambda msg: peer.masks.update({stamp_ns(msg): msg}), 50
    )
    peer.node.create_subscription(
        DiagnosticArray, '/diagnostics', lambda msg: peer.clock_s.append(msg.header.stamp.sec), 5
    )
    yield peer
    peer.close()


def stamp_ns(msg):
    return msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec


def frames_of(scenes):
    return [frame for frame, _ in scenes]


def test_bag_goes_through_the_node_in_its_own_time_and_all_ends_with_it(
    launch, peer, scenes, tmp_path
):
    topic = f'{CAMERA}/image_raw'
    bag = write_bag(tmp_path / 'bag', {topic: raw_msgs(frames_of(scenes))})
    launched = launch(PLAYBACK, f'bag:={bag}')
    peer.spin_until(lambda: peer.node.get_publishers_info_by_topic(topic))
    (player,) = peer.node.get_publishers_info_by_topic(topic)
    # The stand-in for ros2 plays best effort what qos_file does not name.
    assert player.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    peer.spin_until(launched.has_ended)
    assert launched.process.returncode == 0, launched.log
    labels = {START_NS + i * PERIOD_NS: label for i, (_, label) in enumerate(scenes)}
    assert max(peer.masks) == max(labels)
    ious = [iou_of(pixels_of(mask), labels[stamp]) for stamp, mask in peer.masks.items()]
    assert sum(ious) / len(ious) > 0.8
    assert START_NS // 10**9 <= peer.clock_s[-1] <= START_NS // 10**9 + 5


def test_rviz_shows_camera_mask_and_overlay_and_stays_when_the_bag_has_ended(
    launch, peer, scenes, tmp_path
):
    bag = write_bag(tmp_path / 'bag', {'/front/image': raw_msgs(frames_of(scenes), 'rgb8')})
    launched = launch(PLAYBACK, f'bag:={bag}', 'image:=/front/image', 'rviz:=True', 'rate:=0.5')
    told = 'the bag has ended; press Ctrl-C to end the node and RViz'
    peer.spin_until(lambda: told in launched.log)
    for text in ('Camera shows 320 x 240 rgb8', 'Mask shows 320 x 240 mono8', 'Overlay shows 320'):
        peer.spin_until(lambda text=text: text in launched.log)
    assert 'rviz2 is up, use_sim_time True' in launched.log
    peer.spin_for(4.0)
    assert not launched.has_ended()
    assert launched.interrupt() == 0


def test_compressed_bag_is_played_again_and_again(launch, peer, scenes, tmp_path):
    topic = f'{CAMERA}/image_raw/compressed'
    bag = write_bag(tmp_path / 'bag', {topic: jpeg_msgs(frames_of(scenes)[:3])})
    launched = launch(PLAYBACK, f'bag:={bag}', 'loop:=TRUE')
    peer.spin_until(lambda: peer.masks)
    peer.masks.clear()
    peer.spin_until(lambda: peer.masks)
    assert set(peer.masks) <= {START_NS + i * PERIOD_NS for i in range(3)}
    assert launched.interrupt() == 0
    assert 'Traceback' not in launched.log


def test_bag_in_a_group_of_somebody_elses_launch_file_ends_all_as_it_does_alone(
    launch, peer, scenes, tmp_path
):
    # All three, though they are over after 0.2 s, and best effort. The topic is relative, as a
    # camera's is that of the node's namespace.
    bag = write_bag(tmp_path / 'bag', {'/front/image': raw_msgs(frames_of(scenes)[:3])})
    given = {'bag': str(bag), 'namespace': 'front', 'image': 'image', 'device': 'cpu'}
    file = tmp_path / 'vehicle.launch.py'
    file.write_text(GROUP.format(file=str(PLAYBACK), given=given))
    launched = launch(file)
    peer.spin_until(launched.has_ended)
    assert launched.process.returncode == 0, launched.log
    assert '3 received' in launched.log


def test_bag_is_played_though_the_activation_of_the_node_was_missed(
    launch, prefix, peer, scenes, tmp_path
):
    # As if launch had discovered the node after its activation: the event goes elsewhere.
    script = prefix / 'lib' / 'fcn_road_seg' / 'segment'
    text = script.read_text()
    elsewhere = "main([*sys.argv, '--ros-args', '-r', '~/transition_event:=~/missed'])"
    script.write_text(text.replace('main())', f'{elsewhere})'))
    bag = write_bag(tmp_path / 'bag', {'/front/image': raw_msgs(frames_of(scenes)[:3])})
    launched = launch(PLAYBACK, f'bag:={bag}', 'image:=/front/image')
    peer.spin_until(launched.has_ended)
    script.write_text(text)
    assert launched.process.returncode == 0, launched.log
    assert '3 received' in launched.log


def test_relative_image_is_that_of_the_namespace_around_the_launch_file(launch, tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/a': raw_msgs(np.zeros((1, 8, 8, 3), np.uint8))})
    given = {'bag': str(bag), 'namespace': 'front', 'image': 'image'}
    file = tmp_path / 'vehicle.launch.py'
    text = GROUP.format(file=str(PLAYBACK), given=given)
    file.write_text(text.replace('GroupAction([', "GroupAction([PushRosNamespace('fleet'), "))
    launched = launch(file)
    assert launched.process.wait(timeout=30) == 1
    assert 'has no images on /fleet/front/image; set image to' in launched.log


def test_node_that_cannot_start_ends_the_launch(launch, peer, scenes, tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/front/image': raw_msgs(frames_of(scenes)[:1])})
    launched = launch(PLAYBACK, f'bag:={bag}', 'image:=/front/image', 'checkpoint:=/nowhere')
    peer.spin_until(launched.has_ended)
    assert '[segment-1]: process has died' in launched.log
    assert 'player' not in launched.log


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        (['bag:=/nowhere'], 'bag /nowhere does not exist; give the folder or file of a rosbag2'),
        (['rate:=0'], "rate '0' is invalid; give a number above 0, such as 1.0"),
        (['loop:=often'], "loop 'often' is invalid; give true or false"),
        (['image:=/a', 'rviz:=maybe'], "rviz 'maybe' is invalid; give true or false"),
        (['image:=/a', 'autostart:=no'], "autostart 'no' is invalid; give true or false"),
        (['rate:=fast'], "rate 'fast' is invalid; give a number above 0"),
        (['qos_file:=/nowhere'], 'qos_file /nowhere does not exist'),
        (['image:=/a', 'params_file:=/nowhere'], 'params_file /nowhere does not exist; omit it'),
        (['image:=c', 'namespace:=/b/'], f'has no images on /b/c; {SET_IMAGE}'),
        ([], f'has no images on {CAMERA}/image_raw; {SET_IMAGE}'),
    ],
)
def test_argument_that_cannot_be_is_told_before_anything_starts(launch, tmp_path, arguments, text):
    if 'bag:=/nowhere' not in arguments:
        frames = np.zeros((1, 8, 8, 3), np.uint8)
        topics = {'/a': raw_msgs(frames), '/b/compressed': jpeg_msgs(frames)}
        arguments = [f'bag:={write_bag(tmp_path / "bag", topics)}', *arguments]
    launched = launch(PLAYBACK, *arguments)
    assert launched.process.wait(timeout=30) == 1
    assert text in launched.log
    assert 'process started' not in launched.log


def test_rviz_that_is_not_installed_leaves_no_node_behind(launch, prefix, peer, scenes, tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/front/image': raw_msgs(frames_of(scenes)[:1])})
    entry = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / 'rviz2'
    entry.unlink()
    launched = launch(PLAYBACK, f'bag:={bag}', 'image:=/front/image', 'rviz:=true')
    assert launched.process.wait(timeout=30) == 1
    entry.touch()
    assert "package 'rviz2' not found" in launched.log
    peer.spin_for(5.0)
    assert 'fcn_road_seg' not in peer.node.get_node_names()


@pytest.mark.parametrize(
    ('metadata', 'text'),
    [
        (None, 'does not exist; create it with'),
        ('a: [', 'is damaged; create it again with'),
        ('a: 1', 'is damaged; create it again with'),
        ('a: 2026-13-01', 'is damaged; create it again with'),
        ('[' * 2000, 'is damaged; create it again with'),
    ],
)
def test_folder_that_is_no_bag_is_told_with_the_remedy(launch, tmp_path, metadata, text):
    bag = tmp_path / 'bag'
    bag.mkdir()
    if metadata is not None:
        (bag / 'metadata.yaml').write_text(metadata)
    launched = launch(PLAYBACK, f'bag:={bag}')
    assert launched.process.wait(timeout=30) == 1
    assert f'{bag}/metadata.yaml {text} ros2 bag reindex {bag}' in launched.log


def test_player_that_fails_ends_the_node_and_the_launch_with_an_error(launch, peer, tmp_path):
    file = tmp_path / 'empty.mcap'
    file.touch()
    launched = launch(PLAYBACK, f'bag:={file}')
    peer.spin_until(launched.has_ended)
    assert launched.process.returncode == 1
    assert 'ros2 bag play ended with status 1; see above' in launched.log
    assert '[segment-1]: process has finished cleanly' in launched.log


def test_bag_must_be_given(launch):
    launched = launch(PLAYBACK)
    assert launched.process.wait(timeout=30) == 1
    assert "missing required argument 'bag'" in launched.log


def test_qos_is_for_the_default_topics():
    topics = {f'{CAMERA}/{name}' for name in ('image_raw', 'image_raw/compressed', 'camera_info')}
    assert set(yaml.safe_load(QOS_FILE.read_text())) == topics
