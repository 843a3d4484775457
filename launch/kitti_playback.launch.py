"""Play a bag through the node, on the bag's clock, and optionally show the result in RViz.

ros2 launch fcn_road_seg kitti_playback.launch.py bag:=/data/drive_0001 rviz:=true
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import Event, EventHandler, LaunchContext, LaunchDescription, LaunchDescriptionEntity
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
from launch.events.process import ProcessExited, ProcessStarted
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node
from launch_ros.ros_adapters import get_ros_node
from launch_ros.utilities import make_namespace_absolute, prefix_namespace
from lifecycle_msgs.srv import GetState

PACKAGE = 'fcn_road_seg'
SHARE = Path(get_package_share_directory(PACKAGE))
CAMERA = '/kitti/camera_color_left'
ARGUMENTS = {
    'loop': ('false', 'Whether to repeat the bag until Ctrl-C: true or false.'),
    'rate': ('1.0', 'Speed of the playback; 1.0 is the speed of the recording.'),
    'qos_file': (
        str(SHARE / 'config' / 'kitti_qos.yaml'),
        'YAML file with the QoS of topics; all others are played with their recorded QoS.',
    ),
    'image': (f'{CAMERA}/image_raw', 'Camera topic in the bag, without /compressed.'),
    'camera_info': (
        f'{CAMERA}/camera_info',
        'CameraInfo topic of the camera in the bag.',
    ),
}
# Time for the player and its subscribers to discover each other, also before each round of a loop.
# Fast DDS takes 0.1 s or, if an announcement is lost, until the next announcement 3 s later.
DELAY_S = 4
ASK_PERIOD_S = 1.0
# Time for the masks of the last frames.
LAST_MASKS_S = 3.0
YES, NO = ('true', '1'), ('false', '0')


def player(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Check the arguments, and play the bag as soon as the node is active."""
    given = context.launch_configurations
    bag, qos_file = Path(given['bag']).expanduser(), Path(given['qos_file']).expanduser()
    rate = given['rate']
    try:
        valid = 0 < float(rate) < float('inf')
    except ValueError:
        valid = False
    if not valid:
        raise RuntimeError(f'rate {rate!r} is invalid; give a number above 0, such as 1.0')
    if given['loop'].strip().lower() not in (*YES, *NO):
        raise RuntimeError(f'loop {given["loop"]!r} is invalid; give true or false')
    if not qos_file.is_file():
        raise RuntimeError(f'qos_file {qos_file} does not exist; omit it, or copy the default')
    command = ['ros2', 'bag', 'play', str(bag), '--clock', '--rate', rate, '--delay', str(DELAY_S)]
    command += ['--qos-profile-overrides-path', str(qos_file), '--disable-keyboard-controls']
    command += ['--loop'] if is_given(given, 'loop') else []
    play = ExecuteProcess(cmd=command, name='player', output='screen')
    # Another launch file may include this one in a namespace.
    namespace = prefix_namespace(given.get('ros_namespace'), given.get('namespace', '').strip('/'))
    namespace = make_namespace_absolute(namespace or '').rstrip('/')
    image = given['image']
    found = transport_of(bag, image if image.startswith('/') else f'{namespace}/{image}')
    # Read rviz now: in a group of another launch file, the arguments are gone when the bag ends.
    on_exit = partial(on_end, stays=is_given(given, 'rviz'))
    return [
        SetLaunchConfiguration('image_transport', given.get('image_transport') or found),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=on_exit)),
        RegisterEventHandler(
            EventHandler(
                matcher=partial(is_start_of, f'{namespace}/{PACKAGE}'),
                entities=[OpaqueFunction(function=wait_for_node, args=[play])],
                handle_once=True,
            )
        ),
    ]


def is_given(given: Mapping[str, str], flag: str) -> bool:
    """Return the value of a yes-or-no argument, spelt as launch's own conditions allow."""
    return given.get(flag, '').strip().lower() in YES


def transport_of(bag: Path, image: str) -> str:
    """Return how the bag stores the topic `image`: 'raw', 'compressed', or '' (both or unknown).

    Raises:
        RuntimeError: the bag or its metadata is missing or damaged, or it has no such topic.
    """
    if not bag.exists():
        raise RuntimeError(f'bag {bag} does not exist; give the folder or file of a rosbag2')
    metadata = bag / 'metadata.yaml'
    if not bag.is_dir():
        return ''
    if not metadata.exists():
        raise RuntimeError(f'{metadata} does not exist; create it with ros2 bag reindex {bag}')
    try:
        information = yaml.safe_load(metadata.read_text())['rosbag2_bagfile_information']
        entries = [entry['topic_metadata'] for entry in information['topics_with_message_count']]
        types = [(entry['type'], entry['name']) for entry in entries]
    except (yaml.YAMLError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RuntimeError(
            f'{metadata} is damaged; create it again with ros2 bag reindex {bag}'
        ) from error
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
        topics = ', '.join(sorted(set.union(*names.values()))) or 'none'
        raise RuntimeError(
            f'bag {bag} has no images on {image}; set image to one of its image topics ({topics})'
        )
    return has[0] if len(has) == 1 else ''


def is_start_of(name: str, event: Event) -> bool:
    """Return whether the process of the node with this full name has started."""
    return (
        isinstance(event, ProcessStarted)
        and isinstance(event.action, Node)
        and event.action.node_name == name
    )


def wait_for_node(context: LaunchContext, play: ExecuteProcess) -> list[LaunchDescriptionEntity]:
    """Play the bag when the node that has just started is active."""
    node = context.locals.event.action
    client = get_ros_node(context).create_client(GetState, f'{node.node_name}/get_state')
    return play_when_active(context, play, node, client, [])


def play_when_active(
    context: LaunchContext, play: ExecuteProcess, node: Node, client: Any, asked: list[Any]
) -> list[LaunchDescriptionEntity]:
    """Play the bag if the node has answered that it is active; else ask again, while it runs.

    The transition event is not used: it is lost if launch discovers the node after the transition.
    """
    answers = [request.result() for request in asked if request.done()]
    if any(answer.current_state.label == 'active' for answer in answers):
        return [play]
    if context.is_shutdown or node.return_code is not None:
        return []
    # While it loads its network, the node does not answer; a request may also be lost.
    asked = [request for request in asked if not request.done()]
    if client.service_is_ready():
        asked.append(client.call_async(GetState.Request()))
    again = OpaqueFunction(function=play_when_active, args=[play, node, client, asked])
    return [TimerAction(period=ASK_PERIOD_S, actions=[again])]


def on_end(
    event: ProcessExited, context: LaunchContext, *, stays: bool
) -> list[LaunchDescriptionEntity]:
    """Shut down after the end of the bag, unless RViz stays to show the last frame."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError(f'ros2 bag play ended with status {event.returncode}; see above')
    if stays:
        return [LogInfo(msg='the bag has ended; press Ctrl-C to end the node and RViz')]
    return [TimerAction(period=LAST_MASKS_S, actions=[Shutdown(reason='the bag has ended')])]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, in addition to those of segment.launch.py, and include that file."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Folder or file of the rosbag2 to play.'),
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=player),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'segment.launch.py')),
                # If the node started again, part of the bag would have been played already.
                launch_arguments={'use_sim_time': 'true', 'respawn': 'false'}.items(),
            ),
        ]
    )
