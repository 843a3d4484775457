"""The ROS 2 node: camera frames in, road masks and overlays out."""

from __future__ import annotations

from concurrent.futures import Future

from rcl_interfaces.msg import SetParametersResult
from rclpy.logging import get_logger
from rclpy.parameter import Parameter as RosParameter
from rclpy.task import Future as RosFuture
from std_srvs.srv import SetBool

from fcn_road_seg.ros.diagnostics import DiagnosticsPublisher, NodeStatus
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.frame_stream import FrameStream
from fcn_road_seg.ros.frame_worker import FrameFilter
from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS, GroundStage
from fcn_road_seg.ros.managed_node import ManagedNode
from fcn_road_seg.ros.model_loader import (
    POLL_S,
    LoadedModel,
    load_in_background,
    wait_for_model,
)
from fcn_road_seg.ros.node_parameters import check_changes, declare_parameters, read_parameters
from fcn_road_seg.ros.parameter import ParameterError
from fcn_road_seg.ros.publishers import Publishers
from fcn_road_seg.ros.rclpy_compat import lifecycle_state

NODE_NAME = 'fcn_road_seg'
# A signal must end the node within two seconds. This wait is a quarter of that: on a busy machine,
# the executor and the shutdown need the rest.
JOIN_TIMEOUT_S = 0.5


class SegmentNode(ManagedNode):
    """Camera frames in, road masks out.

    Configuring loads the network, activating subscribes to `image`. A FrameStream segments the
    frames in a thread of its own, while the executor's thread queues them and answers services.

    Raises:
        StartError: a parameter's value is not allowed; the text is one line for the user.
    """

    def __init__(self, ending: RosFuture | None = None) -> None:
        super().__init__(NODE_NAME, ending)

    def set_up(self) -> None:
        self._settings = declare_parameters(self)
        self.autostart = self._settings.autostart
        self._statistics = FrameStatistics()
        self._filter = FrameFilter()
        self._loading: Future[LoadedModel] | None = None
        self._model: LoadedModel | None = None
        self._outputs: Publishers | None = None
        self._ground: GroundStage | None = None
        self._stream: FrameStream | None = None
        DiagnosticsPublisher(self, self._statistics, self._status)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def configure(self) -> None:
        """Load the network, warm it up, and create the publishers."""
        self._settings = read_parameters(self)
        self._loading = load_in_background(self._settings, self.get_logger())
        self._model = wait_for_model(self._loading, lambda: self.is_ending)
        self._outputs = Publishers(self, every_frame=self._settings.process_every_frame)
        self._ground = GroundStage(self, self._settings, self._statistics)
        self._apply_settings(self._model, self._outputs)

    def activate(self) -> None:
        """Subscribe, and start segmenting."""
        assert self._model is not None
        assert self._outputs is not None
        assert self._ground is not None
        self._statistics.resume()
        self._stream = FrameStream(
            self,
            self._settings,
            self._model.segmenter,
            self._outputs,
            self._statistics,
            self._filter,
            self._ground,
        )
        self.get_logger().info(f'waiting for frames on {self._stream.image.topic}')

    def deactivate(self) -> None:
        """Unsubscribe, and wait for the current frame or for the node's end."""
        while self._stream is not None:
            if self._stream.stop(POLL_S):
                self._stream = None
            elif self.is_ending:
                return  # `end` continues to wait, for as long as a signal allows.

    def clean_up(self) -> None:
        """Remove the outputs, and free the device's memory."""
        if self._outputs is not None:
            self._outputs.close()
            self._outputs = None
        if self._ground is not None:
            self._ground.close()
            self._ground = None
        if self._model is not None:
            # If the GPU is lost, closing fails, and must not be tried again.
            model, self._model = self._model, None
            model.segmenter.close()

    def shut_down(self) -> None:
        """Stop, and let the process end; `end` waits for the current frame."""
        if self._stream is not None:
            self._stream.stop(timeout_s=0.0)

    def end(self) -> bool:
        """Log the frame counts; return whether all threads have ended."""
        worker_ended = self._stream is None or self._stream.stop(JOIN_TIMEOUT_S)
        totals = self._statistics.snapshot().totals
        counts = ', '.join(f'{count} {name}' for name, count in totals.items())
        logger = self.get_logger()
        if not self.context.ok():
            # The node's own logger would complain that it cannot write to /rosout.
            logger = get_logger(f'{logger.name}.summary')
        logger.info(f'frames: {counts}')
        return worker_ended and (self._loading is None or self._loading.done())

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self._filter.enabled:
            self._statistics.resume()
        self._filter.enable(request.data)
        response.success = True
        response.message = 'enabled' if request.data else 'disabled: frames are not segmented'
        self.get_logger().info(response.message)
        return response

    def _on_set_parameters(self, changes: list[RosParameter]) -> SetParametersResult:
        try:
            check_changes(changes, lifecycle_state(self))
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if self._model is not None and self._outputs is not None:
            self._settings = self._settings.with_changes(changes)
            self._apply_settings(self._model, self._outputs)
        return SetParametersResult(successful=True)

    def _apply_settings(self, model: LoadedModel, outputs: Publishers) -> None:
        self._filter.max_image_age_s = self._settings.max_image_age
        model.apply(self._settings)
        if self._ground is not None:
            self._ground.apply(self._settings)
        outputs.publish_label_info(model.segmenter.threshold)

    def _status(self) -> NodeStatus:
        segmenter = self._model.segmenter if self._model else None
        source = self._stream.image if self._stream else None
        wanted = self._outputs.wanted() if self._stream and self._outputs else set()
        ground = self._ground if not GROUND_OUTPUTS.keys().isdisjoint(wanted) else None
        return NodeStatus(
            name=self.get_fully_qualified_name(),
            state=lifecycle_state(self),
            enabled=self._filter.enabled,
            input_topic=source.topic if source else '',
            input_reliability=source.reliability if source else '',
            incompatible_qos=source.mismatch if source else '',
            input_hint=source.hint if source else '',
            ground_problem=ground.problem if ground else '',
            frames_waiting=self._stream.frames_waiting if self._stream else 0,
            max_image_age_s=self._filter.max_image_age_s,
            device=segmenter.device_name if segmenter else '',
            precision=segmenter.precision if segmenter else '',
            precision_reason=segmenter.precision_reason if segmenter else '',
            backend=str(segmenter.backend) if segmenter else '',
            gpu_memory_mib=segmenter.gpu_memory_mib() if segmenter else None,
            checkpoint_sha256=segmenter.checkpoint_sha256 if segmenter else '',
        )
