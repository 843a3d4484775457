"""Segment the road in a camera's images, and optionally show the result in RViz.

ros2 launch fcn_road_seg segment.launch.py image:=/my/camera/image_raw rviz:=true
"""

import os
from difflib import get_close_matches
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

PACKAGE = 'fcn_road_seg'
SHARE = Path(get_package_share_directory(PACKAGE))
OUTPUTS = ('mask', 'overlay', 'grid')
# Empty means not given; the value in params_file then applies, or the node's default.
NODE_ARGUMENTS = {
    'checkpoint': (
        'Checkpoint file, or lite for the light network of the package; empty uses the value in '
        'params_file.'
    ),
    'device': 'Device: auto, cpu, cuda or cuda:N; empty uses the value in params_file.',
    'precision': (
        'Precision: auto, float32, float16, bfloat16, int8 or int8_avx2; empty uses the value in '
        'params_file.'
    ),
    'image_transport': 'Transport: raw or compressed; empty uses the value in params_file.',
    'autostart': (
        'Whether to configure and activate at the start: true or false; empty uses the value in '
        'params_file.'
    ),
}
ARGUMENTS = {
    'image': ('image', 'Camera topic, without /compressed.'),
    'camera_info': ('camera_info', 'CameraInfo topic of the camera; it does not follow image.'),
    **{name: ('', text) for name, text in NODE_ARGUMENTS.items()},
    'params_file': (
        str(SHARE / 'config' / 'segment.yaml'),
        'YAML file with the parameters of the node. If a launch file that includes this one has '
        'an argument of this name, its value is used unless the include sets another.',
    ),
    'namespace': ('', 'Namespace of the node.'),
    'use_sim_time': (
        'false',
        'Whether to use the time on /clock, e.g. of a bag played by ros2 bag: true or false.',
    ),
    'log_level': ('info', 'Log level of the node: debug, info, warn, error or fatal.'),
    'respawn': (
        'false',
        'Whether to start the node again 2 s after it has ended for any reason: true or false.',
    ),
    'rviz': ('false', 'Whether to show camera, mask and overlay in RViz: true or false.'),
}
RESPAWN_DELAY_S = 2.0
FLAGS = {'true': True, '1': True, 'false': False, '0': False}
# Higher than difflib's 0.6: the arguments of a launch file that includes this one are tested, too.
SIMILARITY = 0.86


def flag(name: str, text: str) -> bool:
    """Return the value of a yes-or-no argument, spelt as launch's own conditions allow.

    Raises:
        RuntimeError: `text` is none of them.
    """
    if text.strip().lower() not in FLAGS:
        raise RuntimeError(f'{name} {text!r} is invalid; give true or false')
    return FLAGS[text.strip().lower()]


def node_parameters(given: dict[str, str]) -> dict[str, ParameterValue]:
    """Return the parameters of the node that were given as arguments."""
    parameters = {
        # As a string, not as YAML, in which a checkpoint may be a number or a list.
        name: ParameterValue(given[name], value_type=str)
        for name in NODE_ARGUMENTS
        if given[name]
    }
    if given['autostart']:
        parameters['autostart'] = flag('autostart', given['autostart'])
    return parameters


def nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; a function of the context, which knows the arguments that were given."""
    given = context.launch_configurations
    params_file = Path(given['params_file']).expanduser()
    if not params_file.is_file():
        # Launch would only warn, and start the node with its defaults.
        raise RuntimeError(
            f'params_file {params_file} does not exist; omit it, or copy the default'
        )
    namespace = given['namespace'].strip('/')
    use_sim_time = {'use_sim_time': flag('use_sim_time', given['use_sim_time'])}
    image = LaunchConfiguration('image')
    unknown = set(given) - set(ARGUMENTS)
    similar = {name: get_close_matches(name, ARGUMENTS, 1, SIMILARITY) for name in sorted(unknown)}
    return [
        *(
            LogInfo(msg=f'argument {name} is unknown and has no effect; did you mean {names[0]}?')
            for name, names in similar.items()
            if names
        ),
        # RViz starts before the node: launch fails here if rviz2 is not installed, and would leave
        # a node running that it had already started.
        Node(
            package='rviz2',
            executable='rviz2',
            name='rviz2',
            namespace=namespace,
            arguments=['-d', str(SHARE / 'config' / 'segment.rviz')],
            parameters=[use_sim_time],
            # The configuration has the default topic names. Relative names resolve in the node's
            # namespace, also if another launch file includes this one in a namespace.
            remappings=[
                ('/image', image),
                *((f'/{PACKAGE}/{name}', f'{PACKAGE}/{name}') for name in OUTPUTS),
            ],
            condition=IfCondition(str(flag('rviz', given['rviz']))),
        ),
        # A LifecycleNode has launch events for its transitions. Files that include this one with
        # autostart:=false can use them.
        LifecycleNode(
            package=PACKAGE,
            executable='segment',
            name=PACKAGE,
            namespace=namespace,
            # A later entry overrides an earlier one: the given arguments override the file.
            parameters=[
                str(params_file),
                use_sim_time,
                node_parameters(given),
            ],
            remappings=[
                ('image', image),
                ('camera_info', LaunchConfiguration('camera_info')),
            ],
            # Large pages for the network's large buffers save up to 10 % of the time on a CPU.
            additional_env={
                'GLIBC_TUNABLES': os.environ.get('GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1')
            },
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            respawn=flag('respawn', given['respawn']),
            respawn_delay=RESPAWN_DELAY_S,
            output='screen',
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()
            ),
            OpaqueFunction(function=nodes),
        ]
    )
