"""TODO: one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.utilities import remove_ros_args

from fcn_road_seg.ros.node import NODE_NAME, SegmentNode
from fcn_road_seg.ros.parameters import PARAMETERS, ParameterError
from fcn_road_seg.ros.rclpy_compat import RCLError

ANSWER_S = 0.2


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal or its shutdown; return 0, or 1 if it cannot start."""
    try:
        return _run(list(sys.argv if args is None else args))
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()
        return 0


def _check_arguments(argv: list[str]) -> None:
    """Show the help if asked for, and refuse what only --ros-args would have had read."""
    parser = argparse.ArgumentParser(
        prog='segment',
        usage='%(prog)s [-h] [--ros-args -r image:=/my/camera/image_raw -p NAME:=VALUE ...]',
        description='Turn camera frames into road masks, as a ROS 2 node.',
        epilog=f'Parameters: {", ".join(parameter.name for parameter in PARAMETERS)}.',
    )
    parser.parse_args(remove_ros_args(argv)[1:])


def _run(argv: list[str]) -> int:
    try:
        _check_arguments(argv)
        rclpy.init(args=argv)
    except RuntimeError as error:
        # Arguments that ROS cannot read, or a parameter file among them.
        get_logger(NODE_NAME).fatal(f'{type(error).__name__}: {error}')
        return 1
    try:
        node = SegmentNode()
    except ParameterError as error:
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    except RuntimeError as error:
        # rclpy's errors are of this kind: a signal has taken the context away, or a QoS override
        # cannot be had.
        if not rclpy.ok():
            return 0
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    try:
        if not _ran(node):
            return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # What follows takes a second or so, and a second signal (of a shell to all its group and
        # of a launch file to its nodes, say) must not break it off.
        for again in (signal.SIGINT, signal.SIGTERM):
            signal.signal(again, signal.SIG_IGN)
        all_ended = node.end()
        rclpy.try_shutdown()
    if not all_ended:
        # A network that runs (over a second on a slow CPU) or loads cannot be interrupted, and to
        # tear the interpreter down under it would abort the process.
        sys.stdout.flush()
        os._exit(0)
    return 0


def _ran(node: SegmentNode) -> bool:
    """Spin until the node has finished; return False if it cannot be configured.

    Raises:
        KeyboardInterrupt, ExternalShutdownException: it was ended from outside.
    """
    try:
        if node.autostart and not node.start() and rclpy.ok():
            get_logger(NODE_NAME).fatal(node.failure)
            return False
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin_until_future_complete(node.finished)
        if node.finished.done():
            # The answer to who asked for the transition is still on its way.
            time.sleep(ANSWER_S)
    except RCLError:
        # So rclpy's calls end when a signal takes the context away under them. Python may raise
        # its interrupt only here, so that who calls this catches that one.
        if rclpy.ok():
            raise
    return True


if __name__ == '__main__':
    raise SystemExit(main())
