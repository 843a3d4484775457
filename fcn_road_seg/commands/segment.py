"""The ROS 2 node: camera frames in, road masks and overlays out."""

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
from fcn_road_seg.ros.unused_settings import (
    warn_of_unused_qos_overrides,
    warn_of_unused_settings,
)

ANSWER_S = 0.2


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal or its shutdown; return 0, or 1 if it cannot start."""
    try:
        return _run(list(sys.argv if args is None else args))
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()
        return 0


def _check_arguments(argv: list[str]) -> None:
    """Print the help if asked to, and refuse arguments that ROS would not read.

    Raises:
        SystemExit: either of the two; its code is the exit status, 0 or 2.
    """
    parser = argparse.ArgumentParser(
        prog='segment',
        usage='%(prog)s [-h] [--ros-args -r image:=/my/camera/image_raw -p NAME:=VALUE ...]',
        description='Segment the road in camera frames, as a ROS 2 node.',
        epilog=f'Parameters: {", ".join(parameter.name for parameter in PARAMETERS)}.',
    )
    parser.parse_args(remove_ros_args(argv)[1:])


def _run(argv: list[str]) -> int:
    try:
        _check_arguments(argv)
        rclpy.init(args=argv)
    except RuntimeError as error:
        # ROS cannot read an argument or a parameter file.
        get_logger(NODE_NAME).fatal(f'{type(error).__name__}: {error}')
        return 1
    try:
        node = SegmentNode()
    except (ParameterError, RuntimeError) as error:
        # rclpy raises a RuntimeError if a QoS override is invalid, or if a signal has shut the
        # context down.
        if isinstance(error, RuntimeError) and not rclpy.ok():
            return 0
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    try:
        warn_of_unused_settings(node, argv)
        if not _spin(node):
            return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # The rest takes about a second, and a second signal must not interrupt it. A shell, for
        # example, sends one to all processes of its group and a launch file one to its nodes.
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signal_number, signal.SIG_IGN)
        has_ended = node.end()
        rclpy.try_shutdown()
    if not has_ended:
        # A network that runs (over a second on a slow CPU) or loads cannot be interrupted, and
        # finalizing the interpreter while it does would abort the process.
        sys.stdout.flush()
        os._exit(0)
    return 0


def _spin(node: SegmentNode) -> bool:
    """Spin until the node has finished; return False if it cannot be configured.

    Raises:
        KeyboardInterrupt, ExternalShutdownException: a signal or another thread ended it.
    """
    try:
        # Not after the start, during which a signal may shut the context down: since Kilted, a
        # failed construction prints a traceback.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.autostart and not node.start() and rclpy.ok():
            get_logger(NODE_NAME).fatal(node.failure)
            return False
        if node.autostart:
            warn_of_unused_qos_overrides(node)
        executor.spin_until_future_complete(node.finished)
        if node.finished.done():
            # The answer to the requested transition is still being sent.
            time.sleep(ANSWER_S)
    except RCLError:
        # Calls of rclpy end like this when a signal shuts the context down while they run. Python
        # may raise the signal's KeyboardInterrupt only here, so that the caller catches it.
        if rclpy.ok():
            raise
    return True


if __name__ == '__main__':
    raise SystemExit(main())
