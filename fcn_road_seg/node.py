"""The ROS 2 node: camera frames in, road masks and overlays out."""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import rclpy
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from fcn_road_seg.image_msgs import ImageError, image_msg, to_frame
from fcn_road_seg.mailbox import Mailbox
from fcn_road_seg.parameters import (
    PARAMETERS,
    Parameter,
    ParameterError,
    check_together,
)

if TYPE_CHECKING:
    from fcn_road_seg.segmenter import RoadSegmenter

NODE_NAME = 'fcn_road_seg'
WARNING_PERIOD_S = 5.0
# At depth 1 the next mask overwrites one that the transport lost before it can be sent again: on
# a loaded machine up to a third of them never arrived (see benchmarks/README.md).
OUTPUT_DEPTH = 5
# Half of the two seconds in which a signal must have ended the node.
JOIN_TIMEOUT_S = 1.0


class SegmentNode(Node):
    """Subscribes `image`, publishes `~/mask` and `~/overlay` for whoever listens.

    Frames are segmented by a thread of their own, always the newest one; the executor's
    thread only puts them into its mailbox.

    Raises:
        ValueError: a parameter, the checkpoint or the device is not usable; the text is one
            line for the user.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        values = self._declare_parameters()
        self._segmenter = self._load_segmenter(values)
        self._checkpoint_threshold = self._segmenter.threshold
        self._apply(values)
        self._segmenter.warm_up()

        self.segmented = 0
        self.refused = 0
        self._mailbox: Mailbox[Image] = Mailbox()
        self._worker = threading.Thread(target=self._work, name='segmenter', daemon=True)
        self._mask_pub = self.create_publisher(Image, '~/mask', OUTPUT_DEPTH)
        self._overlay_pub = self.create_publisher(Image, '~/overlay', OUTPUT_DEPTH)
        reliability = ReliabilityPolicy[values['input_reliability'].upper()]
        self._subscription = self.create_subscription(
            Image, 'image', self._mailbox.put, QoSProfile(depth=1, reliability=reliability)
        )
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._worker.start()
        self.get_logger().info(f'waiting for frames on {self._subscription.topic_name}')

    def close(self) -> bool:
        """Say what became of the frames; return whether the worker came to its end."""
        self._mailbox.close()
        self._worker.join(JOIN_TIMEOUT_S)
        # Not the node's own logger: with the context gone, /rosout would complain.
        get_logger(f'{NODE_NAME}.summary').info(
            f'{self.segmented} frames segmented, {self._mailbox.dropped} dropped for a newer one, '
            f'{self.refused} refused'
        )
        return not self._worker.is_alive()

    def _work(self) -> None:
        while (msg := self._mailbox.take()) is not None:
            try:
                self._segment(msg)
            except ImageError as error:
                self.refused += 1
                self._warn(f'frame refused: {error}')
            except Exception as error:
                if not self.context.ok():
                    # The node is ending, and the publishers are gone.
                    return
                # One frame's failure (such as a GPU's full memory) is no reason to leave the
                # vehicle without the next one's mask.
                self.refused += 1
                self._warn(f'frame not segmented: {type(error).__name__}: {error}')

    def _segment(self, msg: Image) -> None:
        wants_mask = self._mask_pub.get_subscription_count() > 0
        wants_overlay = self._overlay_pub.get_subscription_count() > 0
        if not (wants_mask or wants_overlay):
            return
        frame = to_frame(msg)
        result = self._segmenter(
            frame.pixels,
            channel_order=frame.channel_order,
            confidence=False,
            overlay=wants_overlay,
        )
        if wants_mask:
            self._mask_pub.publish(image_msg(result.mask, 'mono8', msg.header))
        if result.overlay_bgr is not None:
            self._overlay_pub.publish(image_msg(result.overlay_bgr, 'bgr8', msg.header))
        self.segmented += 1

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=WARNING_PERIOD_S)

    def _declare_parameters(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for parameter in PARAMETERS:
            try:
                declared = self.declare_parameter(
                    parameter.name, parameter.default, _descriptor(parameter)
                )
            except ParameterException as error:
                # rclpy's texts name the value but no remedy.
                raise ParameterError(
                    f'{error}; {parameter.name} is {parameter.allowed}'
                ) from error
            values[parameter.name] = _plain(declared)
            parameter.check(values[parameter.name])
        check_together(values)
        return values

    def _on_set_parameters(self, changed: list[RosParameter]) -> SetParametersResult:
        values = {p.name: p.value for p in self.get_parameters([p.name for p in PARAMETERS])}
        by_name = {p.name: p for p in PARAMETERS}
        try:
            for ros_parameter in changed:
                if ros_parameter.name in by_name:
                    values[ros_parameter.name] = _plain(ros_parameter)
                    by_name[ros_parameter.name].check(values[ros_parameter.name])
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._apply(values)
        return SetParametersResult(successful=True)

    def _load_segmenter(self, values: dict[str, Any]) -> RoadSegmenter:
        # PyTorch takes seconds to import: not before the parameters are known to be right, and
        # when a signal that comes meanwhile finds rclpy's handlers in place.
        from fcn_road_seg.checkpoint import default_checkpoint_path
        from fcn_road_seg.segmenter import RoadSegmenter

        if not self.context.ok():
            raise ExternalShutdownException
        size = values['input_height'], values['input_width']
        checkpoint_path = values['checkpoint'] or default_checkpoint_path()
        segmenter = RoadSegmenter(
            checkpoint_path,
            values['device'],
            values['precision'],
            input_hw=size if all(size) else None,
            num_threads=values['num_threads'],
        )
        text = (
            f'{checkpoint_path} ({segmenter.checkpoint_sha256[:12]}) '
            f'on {segmenter.device}, {segmenter.precision}'
        )
        if values['device'] == 'auto' and segmenter.device.type == 'cpu':
            self.get_logger().warning(f'{text}: no GPU is usable, so this will be slow')
        else:
            self.get_logger().info(text)
        return segmenter

    def _apply(self, values: dict[str, Any]) -> None:
        self._segmenter.threshold = values['threshold'] or self._checkpoint_threshold
        self._segmenter.overlay_style = replace(
            self._segmenter.overlay_style,
            color_rgb=tuple(values['overlay_color']),
            alpha=values['overlay_alpha'],
        )


def _plain(parameter: RosParameter) -> Any:
    """Return the parameter's value as Python's own types (arrays as lists)."""
    value = parameter.value
    return list(value) if isinstance(value, (array, list, tuple)) else value


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=parameter.description, read_only=not parameter.dynamic
    )
    low, high = parameter.minimum, parameter.maximum
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
        descriptor.integer_range = [
            IntegerRange(from_value=low, to_value=high, step=parameter.multiple or 1)
        ]
    return descriptor


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until a signal; return 0 then, or 1 if it cannot start."""
    rclpy.init(args=None if args is None else list(args))
    try:
        node = SegmentNode()
    except ValueError as error:
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        rclpy.try_shutdown()
        return 0
    except RuntimeError:
        # rclpy's errors are of this kind, and so is what an interrupted import may raise: if the
        # context is gone, a signal came while the network was loading, and that is fine.
        if rclpy.ok():
            raise
        return 0
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        worker_ended = node.close()
        rclpy.try_shutdown()
    if not worker_ended:
        # A network that runs (over a second on a slow CPU) cannot be interrupted, and to tear
        # the interpreter down under it would abort the process.
        sys.stdout.flush()
        os._exit(0)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
