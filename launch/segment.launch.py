"""Segment the road in a camera's images, and optionally show the result in RViz.

ros2 launch fcn_road_seg segment.launch.py image:=/my/camera/image_raw rviz:=true
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

PACKAGE = 'fcn_road_seg'
SHARE = Path(get_package_share_directory(PACKAGE))
OUTPUTS = ('mask', 'overlay')
# Empty means not given; the value in params_file then applies, or the node's default.
NODE_ARGUMENTS = {
    'checkpoint': 'Checkpoint file; empty uses the value in params_file.',
    'device': 'Device: auto, cpu, cuda or cuda:N; empty uses the value in params_file.',
    'image_transport': 'Transport: raw or compressed; empty uses the value in params_file.',
}


def nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; a function of the context, which knows the arguments that were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in NODE_ARGUMENTS}
    params_file = Path(LaunchConfiguration('params_file').perform(context)).expanduser()
    if not params_file.is_file():
        # Launch would only warn, and start the node with its defaults.
        raise RuntimeError(
            f'params_file {params_file} does not exist; omit it, or copy the default'
        )
    namespace = LaunchConfiguration('namespace').perform(context).strip('/')
    use_sim_time = {'use_sim_time': LaunchConfiguration('use_sim_time')}
    image = LaunchConfiguration('image')
    return [
        # First: launch fails here if rviz2 is not installed, and would leave a node that it has
        # started already running.
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
            condition=IfCondition(LaunchConfiguration('rviz')),
        ),
        # Its state transitions are launch events, by which kitti_playback.launch.py waits for it.
        LifecycleNode(
            package=PACKAGE,
            executable='segment',
            name=PACKAGE,
            namespace=namespace,
            # A later entry overrides an earlier one: the given arguments override the file.
            parameters=[
                str(params_file),
                use_sim_time,
                {name: value for name, value in given.items() if value},
            ],
            remappings=[
                ('image', image),
                ('camera_info', LaunchConfiguration('camera_info')),
            ],
            # Large pages for the network's large buffers save up to 10 % of the time on a CPU.
            additional_env={
                'GLIBC_TUNABLES': os.environ.get('GLIBC_TUNABLES', 'glibc.malloc.hugetlb=1')
            },
            output='screen',
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the nodes."""
    return LaunchDescription(
        [
            DeclareLaunchArgument('image', default_value='image', description='Camera topic.'),
            DeclareLaunchArgument(
                'camera_info',
                default_value='camera_info',
                description='CameraInfo topic, relayed beside the masks.',
            ),
            *(
                DeclareLaunchArgument(name, default_value='', description=text)
                for name, text in NODE_ARGUMENTS.items()
            ),
            DeclareLaunchArgument(
                'params_file',
                default_value=str(SHARE / 'config' / 'segment.yaml'),
                description='YAML file with the parameters of the node.',
            ),
            DeclareLaunchArgument(
                'namespace', default_value='', description='Namespace of the node.'
            ),
            DeclareLaunchArgument(
                'use_sim_time',
                default_value='false',
                choices=['true', 'false'],
                description='Whether to use the time on /clock, e.g. of a bag played by ros2.',
            ),
            DeclareLaunchArgument(
                'rviz',
                default_value='false',
                choices=['true', 'false'],
                description='Whether to show camera, mask and overlay in RViz.',
            ),
            OpaqueFunction(function=nodes),
        ]
    )
