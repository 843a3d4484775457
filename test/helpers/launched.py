"""Runs launch files for real, with this checkout as if built and stand-ins for ROS's tools."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
NODE = """#!{python}
import sys
sys.path.insert(0, {repository!r})
from fcn_road_seg.commands.segment import main
raise SystemExit(main())
"""
STAND_IN = """#!/bin/sh
exec {python} {script} "$@"
"""


def own_prefix() -> Path:
    """Return a new ament prefix with this package and stand-ins for rviz2 and `bin/ros2`."""
    prefix = Path(tempfile.mkdtemp(prefix='fcn_road_seg_prefix_'))
    share = prefix / 'share' / 'fcn_road_seg'
    index = prefix / 'share' / 'ament_index' / 'resource_index' / 'packages'
    for folder in (share, index):
        folder.mkdir(parents=True)
    for package in ('fcn_road_seg', 'rviz2'):
        (index / package).touch()
    for folder in ('launch', 'config'):
        (share / folder).symlink_to(REPOSITORY / folder)
    node = NODE.format(python=sys.executable, repository=str(REPOSITORY))
    _write_executable(prefix / 'lib' / 'fcn_road_seg' / 'segment', node)
    tests = REPOSITORY / 'test/helpers'
    for path, script in (
        (prefix / 'lib' / 'rviz2' / 'rviz2', tests / 'rviz_displays.py'),
        (prefix / 'bin' / 'ros2', tests / 'ros2_bag_play.py'),
    ):
        _write_executable(path, STAND_IN.format(python=sys.executable, script=script))
    return prefix


def _write_executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)


def main() -> int:
    """Stand in for `ros2 launch FILE NAME:=VALUE ...`; return the exit status."""
    from launch import LaunchDescription, LaunchService
    from launch.actions import IncludeLaunchDescription
    from launch.launch_description_sources import PythonLaunchDescriptionSource

    file, *arguments = sys.argv[1:]
    service = LaunchService(noninteractive=True)
    included = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(file),
        launch_arguments=[tuple(argument.split(':=', 1)) for argument in arguments],
    )
    service.include_launch_description(LaunchDescription([included]))
    return service.run()


if __name__ == '__main__':
    raise SystemExit(main())
