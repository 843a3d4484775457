"""Segment a camera's road: the node, and RViz if asked for.

ros2 launch fcn_road_seg segment.launch.py image:=/my/camera/image_raw rviz:=true
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

PACKAGE = 'fcn_road_seg'
SHARE = Path(get_package_share_directory(PACKAGE))
OUTPUTS = ('mask', 'overlay')
# Empty means not given: the params_file, and behind it the node, then have their say.
NODE_ARGUMENTS = {
    'checkpoint': "Checkpoint file; empty takes the params_file's.",
    'device': "auto, cpu, cuda or cuda:N; empty takes the params_file's.",
    'image_transport': "raw or compressed; empty takes the params_file's.",
}


def nodes(context: LaunchContext) -> list[Node]:
    """Return the nodes; a function of the context, to see which arguments were given."""
    given = {name: LaunchConfiguration(name).perform(context) for name in NODE_ARGUMENTS}
    params_file = Path(LaunchConfiguration('params_file').perform(context)).expanduser()
    if not params_file.is_file():
        # Launch would only warn, and start the node at its defaults.
        raise RuntimeError(
            f'params_file {params_file} does not exist; leave it out, or copy the default'
        )
    namespace = LaunchConfiguration('namespace').perform(context).strip('/')
    use_sim_time = {'use_sim_time': LaunchConfiguration('use_sim_time')}
    image = LaunchConfiguration('image')
    return [
        # First: launch fails here if rviz2 is not installed, and would leave a node that it had
        # begun to start behind, running.
        Node(
            package='rviz2',
            executable='rviz2',
            name='rviz2',
            namespace=namespace,
            arguments=['-d', str(SHARE / 'config' / 'segment.rviz')],
            parameters=[use_sim_time],
            # The configuration is saved for the default topic names. Relative ones are in the
            # node's namespace, whoever includes this file in one of theirs.
            remappings=[
                ('/image', image),
                *((f'/{PACKAGE}/{name}', f'{PACKAGE}/{name}') for name in OUTPUTS),
            ],
            condition=IfCondition(LaunchConfiguration('rviz')),
        ),
        Node(
            package=PACKAGE,
            executable='segment',
            name=PACKAGE,
            namespace=namespace,
            # The later one wins: an argument that was given beats the file.
            parameters=[
                str(params_file),
                use_sim_time,
                {name: value for name, value in given.items() if value},
            ],
            remappings=[
                ('image', image),
                ('camera_info', LaunchConfiguration('camera_info')),
            ],
            # The network's large buffers in large pages: up to a tenth less time on a CPU.
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
                description='Topic of its CameraInfo, relayed beside the masks.',
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
                description='Whether to follow /clock, as for a bag played with --clock.',
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
