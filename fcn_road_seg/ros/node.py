"""The ROS 2 node: camera frames in, road masks and overlays out."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter as RosParameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import SetBool

from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import ImageError, to_frame
from fcn_road_seg.ros.diagnostics import Facts, Health, diagnostic_array
from fcn_road_seg.ros.frame_queue import FrameQueue
from fcn_road_seg.ros.frame_worker import WARNING_PERIOD_S
from fcn_road_seg.ros.image_subscription import ImageSubscription
from fcn_road_seg.ros.model_loader import LOADER_POLL_S, _loaded
from fcn_road_seg.ros.node_parameters import _descriptor, _plain
from fcn_road_seg.ros.parameters import PARAMETERS, ParameterError, check_together
from fcn_road_seg.ros.publishers import CAMERA_INFO, OUTPUTS, Publishers
from fcn_road_seg.ros.rclpy_compat import RCLError

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter

NODE_NAME = 'fcn_road_seg'
DIAGNOSTICS_PERIOD_S = 1.0
# Half of the two seconds in which a signal must have ended the node.
JOIN_TIMEOUT_S = 1.0


class SegmentNode(LifecycleNode):
    """Camera frames in, road masks out: a managed node.

    Configuring loads the network, activating subscribes `image`. Frames are segmented by a
    thread of their own, the newest one unless every one counts; the executor's thread only puts
    them into its mailbox, and answers services meanwhile.

    Raises:
        ParameterError: a parameter's value is not allowed; the text is one line for the user.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self._values = self._declare_parameters()
        # Done when the node has come to its end by a shutdown transition.
        self.finished = Future()
        # Why the last transition failed, in one line.
        self.failure = ''
        self._starting = False
        self._health = Health()
        self._enabled = True
        self._segmenter: RoadSegmenter | None = None
        self._loader: threading.Thread | None = None
        self._worker: threading.Thread | None = None
        self._mailbox: FrameQueue[Any] = FrameQueue()
        self._input: ImageSubscription | None = None
        self._outputs: Publishers | None = None
        self._camera_info: CameraInfo | None = None
        self._camera_info_sub: Any = None
        self._guard_transitions()
        self._diagnostics_pub = self.create_publisher(
            DiagnosticArray,
            '/diagnostics',
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self.create_timer(
            DIAGNOSTICS_PERIOD_S,
            self._report,
            # Simulated time may stand still, run fast or jump back; a vehicle's health does not.
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    @property
    def autostart(self) -> bool:
        return bool(self._values['autostart'])

    def start(self) -> bool:
        """Configure and activate; return whether that went well, else `failure` says why not."""
        self._starting = True
        started = (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )
        self._starting = False
        return started

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, warm it up, and create the outputs."""
        every_frame = self._values['process_every_frame']
        try:
            segmenter, class_names = self._load_segmenter()
            self._checkpoint_threshold = segmenter.threshold
            self._segmenter = segmenter
            self._apply(self._values)
            self._outputs = Publishers(self, class_names, every_frame=every_frame)
        except Exception as error:  # rclpy would swallow it unsaid
            self._segmenter = None
            return self._failed(error)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and begin to segment."""
        every_frame = self._values['process_every_frame']
        self._health.resumed()
        self._mailbox = FrameQueue(keep_all=every_frame)
        try:
            self._camera_info_sub = self.create_subscription(
                CameraInfo,
                'camera_info',
                self._on_camera_info,
                QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            self._input = ImageSubscription(
                self,
                self._on_image,
                self._values['image_transport'],
                self._values['input_reliability'],
                keep_all=every_frame,
            )
        except Exception as error:  # rclpy would swallow it unsaid
            return self._failed(error)
        self._worker = threading.Thread(
            target=self._work, args=(self._mailbox,), name='segmenter', daemon=True
        )
        self._worker.start()
        self.get_logger().info(f'waiting for frames on {self._input.topic}')
        return TransitionCallbackReturn.SUCCESS

    def _failed(self, error: Exception) -> TransitionCallbackReturn:
        # CUDA's errors have many lines.
        text = str(error).partition('\n')[0]
        self.failure = text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'
        # Who starts the node by itself is told by main; a manager learns only that it failed.
        if self.context.ok() and not self._starting:
            self.get_logger().error(f'transition failed: {self.failure}')
        return TransitionCallbackReturn.FAILURE

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and wait for the frame at work."""
        self._stop(timeout_s=None)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the device back."""
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = None
        if self._segmenter is not None:
            self._segmenter.close()
        self._segmenter = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and let the process end; `end` waits for the frame at work."""
        self._stop(timeout_s=0.0)
        self.finished.set_result(None)
        return TransitionCallbackReturn.SUCCESS

    def end(self) -> bool:
        """Say what became of the frames; return whether no thread is left at work."""
        self._mailbox.close()
        self._health.dropped(self._mailbox.take_dropped())
        if self._worker is not None:
            self._worker.join(JOIN_TIMEOUT_S)
        # Not the node's own logger: with the context gone, /rosout would complain.
        counts = ', '.join(f'{count} {name}' for name, count in self._health.totals().items())
        get_logger(f'{NODE_NAME}.summary').info(f'frames: {counts}')
        threads = (self._worker, self._loader)
        return not any(thread is not None and thread.is_alive() for thread in threads)

    def _stop(self, timeout_s: float | None) -> None:
        if self._input is not None:
            self._input.close()
            self.destroy_subscription(self._camera_info_sub)
        self._input = None
        self._mailbox.close()
        self._health.dropped(self._mailbox.take_dropped())
        if self._worker is not None:
            self._worker.join(timeout_s)

    def _on_image(self, msg: Image | CompressedImage) -> None:
        self._health.received()
        if self._enabled:
            self._mailbox.put(msg)
            self._health.dropped(self._mailbox.take_dropped())
        else:
            self._health.ignored()

    def _on_camera_info(self, msg: CameraInfo) -> None:
        self._camera_info = msg

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self._enabled:
            self._health.resumed()
        self._enabled = request.data
        response.success = True
        response.message = 'enabled' if self._enabled else 'disabled: frames are not segmented'
        self.get_logger().info(response.message)
        return response

    def _work(self, mailbox: FrameQueue[Any]) -> None:
        while (msg := mailbox.take()) is not None:
            try:
                self._segment(msg, mailbox)
            except ImageError as error:
                self._refuse(str(error))
            except Exception as error:
                if not self.context.ok():
                    # The node is ending, and the publishers are gone.
                    return
                # One frame's failure (such as a GPU's full memory) is no reason to leave the
                # vehicle without the next one's mask.
                self._refuse(f'{type(error).__name__}: {error}')

    def _segment(self, msg: Image | CompressedImage, mailbox: FrameQueue[Any]) -> None:
        assert self._outputs is not None
        assert self._segmenter is not None
        wanted = self._outputs.wanted()
        if not wanted - {CAMERA_INFO}:
            return
        if not self._enabled:
            # Since it was queued.
            self._health.ignored()
            return
        if self._is_too_old(msg.header.stamp):
            self._health.too_old()
            return
        began_s = time.monotonic()
        frame = to_frame(msg) if isinstance(msg, Image) else compressed_to_frame(msg)
        decoded_s = time.monotonic()
        found = self._segmenter(
            frame.pixels,
            channel_order=frame.channel_order,
            confidence='confidence' in wanted,
            overlay=not wanted.isdisjoint(('overlay', 'overlay/compressed')),
        )
        inference_s = time.monotonic() - decoded_s
        if mailbox.closed:
            # Deactivated meanwhile.
            self._health.dropped(1)
            return
        for name in OUTPUTS:
            if name in wanted:
                self._outputs.publish(name, found, msg.header)
                self._health.published(name)
        if CAMERA_INFO in wanted and self._camera_info is not None:
            self._outputs.publish_camera_info(self._camera_info, msg.header)
            self._health.published(CAMERA_INFO)
        overhead_s = None
        if found.network_s is not None:
            overhead_s = time.monotonic() - began_s - found.network_s
        self._health.segmented(self._age_s(msg.header.stamp), inference_s, overhead_s)

    def _refuse(self, reason: str) -> None:
        self._health.refused(reason)
        self.get_logger().warning(
            f'frame refused: {reason}', throttle_duration_sec=WARNING_PERIOD_S
        )

    def _age_s(self, stamp: Time) -> float | None:
        """Return how long ago, on the node's clock, a frame was taken; None if it has no stamp."""
        if not (stamp.sec or stamp.nanosec):
            return None
        now_ns = self.get_clock().now().nanoseconds
        return (now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9

    def _is_too_old(self, stamp: Time) -> bool:
        limit_s, age_s = self._values['max_image_age'], self._age_s(stamp)
        return bool(limit_s) and age_s is not None and age_s > limit_s

    def _report(self) -> None:
        if self._input is not None:
            self._input.follow()
        name = f'{self.get_fully_qualified_name()}: segmentation'
        status = self._health.status(name, self._facts())
        now = self.get_clock().now().to_msg()
        self._diagnostics_pub.publish(diagnostic_array(status, now))

    def _facts(self) -> Facts:
        _, state = self._state_machine.current_state
        segmenter, source = self._segmenter, self._input
        return Facts(
            state=state,
            enabled=self._enabled,
            input_topic=source.topic if source else '',
            input_reliability=source.reliability if source else '',
            incompatible_qos=source.mismatch if source else '',
            waiting=len(self._mailbox),
            max_image_age_s=self._values['max_image_age'],
            device=segmenter.device_name if segmenter else '',
            precision=segmenter.precision if segmenter else '',
            backend=str(segmenter.backend) if segmenter else '',
            gpu_memory_mib=segmenter.gpu_memory_mib() if segmenter else None,
            checkpoint_sha256=segmenter.checkpoint_sha256 if segmenter else '',
        )

    def _guard_transitions(self) -> None:
        # rclpy lets a transition that the state does not have end the process.
        service = self._service_change_state
        change_state = service.callback

        def guarded(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RCLError as error:
                self.get_logger().warning(f'transition refused: {error}')
                response.success = False
                return response

        service.callback = guarded

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
        values, by_name = dict(self._values), {p.name: p for p in PARAMETERS}
        try:
            for ros_parameter in changed:
                if ros_parameter.name in by_name:
                    values[ros_parameter.name] = _plain(ros_parameter)
                    by_name[ros_parameter.name].check(values[ros_parameter.name])
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values = values
        self._apply(values)
        return SetParametersResult(successful=True)

    def _load_segmenter(self) -> tuple[RoadSegmenter, Sequence[str]]:
        """Load and warm up in a thread, whose end a signal need not wait for.

        Raises:
            ExternalShutdownException: the context was shut down meanwhile.
            Exception: what loading raised.
        """
        # Not a SimpleQueue: a signal may turn its timed get into one without end (CPython).
        result: queue.Queue[Any] = queue.Queue()

        def load() -> None:
            try:
                result.put(_loaded(self._values, self.get_logger()))
            except Exception as error:  # raised again below, where it is told
                result.put(error)

        self._loader = threading.Thread(target=load, name='loader', daemon=True)
        self._loader.start()
        while True:
            if not self.context.ok():
                raise ExternalShutdownException
            try:
                loaded = result.get(timeout=LOADER_POLL_S)
            except queue.Empty:
                continue
            if isinstance(loaded, Exception):
                raise loaded
            return loaded

    def _apply(self, values: dict[str, Any]) -> None:
        if self._segmenter is None:
            return
        self._segmenter.threshold = values['threshold'] or self._checkpoint_threshold
        self._segmenter.overlay_style = replace(
            self._segmenter.overlay_style,
            color_rgb=tuple(values['overlay_color']),
            alpha=values['overlay_alpha'],
        )
