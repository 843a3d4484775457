"""Play a bag through the node, in the bag's time; and RViz if asked for.

ros2 launch fcn_road_seg kitti_playback.launch.py bag:=/data/drive_0001 rviz:=true
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import EventHandler, LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetLaunchConfiguration,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_sources import PythonLaunchDescriptionSource

SHARE = Path(get_package_share_directory('fcn_road_seg'))
CAMERA = '/kitti/camera_color_left'
ARGUMENTS = {
    'rate': ('1.0', 'Speed of the playback; 1.0 is as it was recorded.'),
    'qos_file': (
        str(SHARE / 'config' / 'kitti_qos.yaml'),
        'YAML file with the QoS of topics; those that it lacks go out as they were recorded.',
    ),
    'image': (f'{CAMERA}/image_raw', 'Camera topic in the bag, without /compressed.'),
    'camera_info': (f'{CAMERA}/camera_info', 'Topic of its CameraInfo, relayed beside the masks.'),
}
# What the node logs once it has subscribed; a bag that is played before is lost on it.
READY = b'waiting for frames on'
# For the player and its listeners to find each other, for which Fast DDS takes 0.1 s or, where an
# announcement is lost, until the next one after 3 s; before each round of a loop, too.
DELAY_S = 4
# For the masks of the last frames.
LAST_MASKS_S = 3.0


def player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check the bag, and have it played as soon as the node is ready."""
    given = context.launch_configurations
    bag, qos_file = Path(given['bag']).expanduser(), Path(given['qos_file']).expanduser()
    rate = given['rate']
    try:
        valid = 0 < float(rate) < float('inf')
    except ValueError:
        valid = False
    if not valid:
        raise RuntimeError(f'rate {rate!r} is no rate; give a number above 0, such as 1.0')
    if not qos_file.is_file():
        raise RuntimeError(
            f'qos_file {qos_file} does not exist; leave it out, or copy the default'
        )
    command = ['ros2', 'bag', 'play', str(bag), '--clock', '--rate', rate, '--delay', str(DELAY_S)]
    command += ['--qos-profile-overrides-path', str(qos_file), '--disable-keyboard-controls']
    command += ['--loop'] if given['loop'] == 'true' else []
    play = ExecuteProcess(cmd=command, name='player', output='screen')
    image = given['image']
    if not image.startswith('/'):
        image = '/'.join(['', *filter(None, [given.get('namespace', '').strip('/')]), image])
    found = transport_of(bag, image)
    # Now, as what is given here is gone when the bag ends, if this file is included in a group.
    on_exit = partial(on_end, stays=given.get('rviz') == 'true')
    return [
        SetLaunchConfiguration('image_transport', given.get('image_transport') or found),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=on_exit)),
        RegisterEventHandler(EventHandler(matcher=is_ready, entities=[play], handle_once=True)),
    ]


def transport_of(bag: Path, image: str) -> str:
    """Return how the bag has the topic `image`: raw, compressed, or '' for both or not known.

    Raises:
        RuntimeError: the bag is not there, or has no such topic.
    """
    if not bag.exists():
        raise RuntimeError(f'bag {bag} does not exist; give the folder or file of a rosbag2')
    metadata = bag / 'metadata.yaml'
    if not bag.is_dir():
        return ''
    if not metadata.exists():
        raise RuntimeError(f'{metadata} does not exist; ros2 bag reindex {bag} makes it')
    try:
        information = yaml.safe_load(metadata.read_text())['rosbag2_bagfile_information']
        topics = [entry['topic_metadata'] for entry in information['topics_with_message_count']]
        types = [(topic['type'], topic['name']) for topic in topics]
    except (yaml.YAMLError, UnicodeDecodeError, LookupError, TypeError) as error:
        raise RuntimeError(f'{metadata} is damaged; ros2 bag reindex {bag} makes it') from error
    names = {
        'raw': {name for kind, name in types if kind == 'sensor_msgs/msg/Image'},
        'compressed': {
            name.removesuffix('/compressed')
            for kind, name in types
            if kind == 'sensor_msgs/msg/CompressedImage'
        },
    }
    has = [transport for transport, images in names.items() if image in images]
    if not has:
        others = ', '.join(sorted(set.union(*names.values()))) or 'no topic'
        raise RuntimeError(f'bag {bag} has no images on {image}, but on {others}; set image')
    return has[0] if len(has) == 1 else ''


def is_ready(event: object) -> bool:
    """Return whether the event is the node's word that it has subscribed."""
    return isinstance(event, ProcessIO) and READY in event.text


def on_end(
    event: ProcessExited, context: LaunchContext, *, stays: bool
) -> list[LaunchDescriptionEntity]:
    """End the node after its bag, unless RViz stays for a look at the last frame."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(f'ros2 bag play ended with status {event.returncode}; see above')
    if stays:
        return [LogInfo(msg='the bag has ended; Ctrl-C ends the node and RViz')]
    return [TimerAction(period=LAST_MASKS_S, actions=[Shutdown(reason='the bag has ended')])]


def generate_launch_description() -> LaunchDescription:
    """Declare what there is beside the arguments of segment.launch.py, which this includes."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Folder or file of the rosbag2 to play.'),
            DeclareLaunchArgument(
                'loop',
                default_value='false',
                choices=['true', 'false'],
                description='Whether to play the bag again and again.',
            ),
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=player),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'segment.launch.py')),
                launch_arguments={'use_sim_time': 'true'}.items(),
            ),
        ]
    )
