"""The ROS 2 node: camera frames in, road masks and overlays out."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.utilities import remove_ros_args

from fcn_road_seg.commands.ending_signals import ending_signals
from fcn_road_seg.ros.managed_node import StartError
from fcn_road_seg.ros.node import NODE_NAME, SegmentNode
from fcn_road_seg.ros.parameters import PARAMETERS
from fcn_road_seg.ros.rclpy_compat import RCLError
from fcn_road_seg.ros.unused_settings import (
    warn_of_unused_qos_overrides,
    warn_of_unused_settings,
)

# Time to send the last lines to /rosout, and the answer to a shutdown transition.
DELIVERY_S = 0.1
# Time until listeners to /rosout have discovered a new node and get its lines. In half of the
# cases that takes until the first heartbeat, after 3 s (Fast DDS, measured).
DISCOVERY_S = 3.5


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
        description='Segment the road in camera frames, as a ROS 2 node. docs/node.md describes '
        'its topics and parameters.',
        epilog=f'Parameters: {", ".join(parameter.name for parameter in PARAMETERS)}.',
    )
    parser.parse_args(remove_ros_args(argv)[1:])


def _run(argv: list[str]) -> int:
    ending = Future()
    _watch_signals(lambda: ending.set_result(None))
    try:
        _check_arguments(argv)
        # rclpy's handlers would shut the context down at once: the last lines of the log would
        # not reach /rosout, and every call of rclpy could fail.
        rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        # ROS cannot read an argument or a parameter file.
        get_logger(NODE_NAME).fatal(f'{type(error).__name__}: {error}')
        return 1
    made_s = time.monotonic()
    try:
        node = SegmentNode(ending)
    except StartError as error:
        error.node.get_logger().fatal(str(error))
        _deliver(made_s + DISCOVERY_S)
        rclpy.try_shutdown()
        return 1
    except RuntimeError:
        # Another thread has shut the context down.
        if rclpy.ok():
            raise
        return 0
    started = True
    try:
        warn_of_unused_settings(node, argv)
        started = _spin(node)
    finally:
        has_ended = node.end()
        if rclpy.ok():
            _deliver(0.0 if started else made_s + DISCOVERY_S)
        rclpy.try_shutdown()
    if not has_ended:
        # A network that is running (over a second on a slow CPU) or loading cannot be interrupted,
        # and finalizing the interpreter meanwhile would abort the process.
        sys.stdout.flush()
        os._exit(0 if started else 1)
    # The interpreter, as it ends, would look for garbage among all objects: with PyTorch, that is
    # half of the time that it takes to end, and on a busy machine seconds.
    gc.freeze()
    return 0 if started else 1


def _deliver(until_s: float) -> None:
    """Wait until what was sent last has arrived, at least until `until_s` (monotonic clock)."""
    time.sleep(max(DELIVERY_S, until_s - time.monotonic()))


def _watch_signals(on_signal: Callable[[], None]) -> None:
    """Call `on_signal`, in a thread, for each signal that ends a command from now on.

    A Python handler alone would run only when the main thread's wait in rclpy ends.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    numbers = ending_signals()
    for number in numbers:
        signal.signal(number, lambda *_: None)

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] in numbers:
                on_signal()

    threading.Thread(target=watch, name='signals', daemon=True).start()


def _spin(node: SegmentNode) -> bool:
    """Spin until the node has to end; return False if it cannot be configured."""
    try:
        if node.autostart and not node.start() and not node.is_ending:
            node.get_logger().fatal(node.failure)
            return False
        if node.autostart:
            warn_of_unused_qos_overrides(node)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # Not spin_until_future_complete: Jazzy's adds a callback to the future for each message (a
        # gigabyte a day), and Humble's waits for the next message after the future is done.
        wake = node.create_guard_condition(lambda: None)
        node.ending.add_done_callback(lambda _: wake.trigger())
        while not node.is_ending:
            executor.spin_once()
    except (RCLError, ExternalShutdownException):
        # Calls of rclpy end like this when another thread shuts the context down.
        if rclpy.ok():
            raise
    return True


if __name__ == '__main__':
    raise SystemExit(main())
