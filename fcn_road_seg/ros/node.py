"""The ROS 2 node: camera frames in, road masks and overlays out."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.parameter import Parameter as RosParameter
from std_srvs.srv import SetBool

from fcn_road_seg.ros.diagnostics import DiagnosticsPublisher, NodeStatus
from fcn_road_seg.ros.frame_queue import FrameQueue
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.frame_worker import FrameFilter, FrameWorker
from fcn_road_seg.ros.image_subscription import ImageSubscription, subscribe_camera_info
from fcn_road_seg.ros.managed_node import ManagedNode
from fcn_road_seg.ros.model_loader import LoadedModel, load_in_background, wait_for_model
from fcn_road_seg.ros.node_parameters import declare_parameters
from fcn_road_seg.ros.parameters import ParameterError
from fcn_road_seg.ros.publishers import Publishers
from fcn_road_seg.ros.rclpy_compat import lifecycle_state

NODE_NAME = 'fcn_road_seg'
# Half of the two seconds within which a signal must end the node.
JOIN_TIMEOUT_S = 1.0


class SegmentNode(ManagedNode):
    """Camera frames in, road masks out.

    Configuring loads the network, activating subscribes to `image`. A FrameWorker segments the
    frames in a thread of its own, while the executor's thread queues them and answers services.

    Raises:
        ParameterError: a parameter's value is not allowed; the text is one line for the user.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self._settings = declare_parameters(self)
        self.autostart = self._settings.autostart
        self._statistics = FrameStatistics()
        self._filter = FrameFilter(max_image_age_s=self._settings.max_image_age)
        self._loading: Future[LoadedModel] | None = None
        self._model: LoadedModel | None = None
        self._outputs: Publishers | None = None
        self._worker: FrameWorker | None = None
        self._image_subscription: ImageSubscription | None = None
        self._camera_info_subscription: Any = None
        DiagnosticsPublisher(self, self._statistics, self._status)
        self.create_service(SetBool, '~/enable', self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network, warm it up, and create the publishers."""
        every_frame = self._settings.process_every_frame
        try:
            self._loading = load_in_background(self._settings, self.get_logger())
            model = wait_for_model(self._loading, self.context)
            self._outputs = Publishers(self, model.class_names, every_frame=every_frame)
        except Exception as error:  # rclpy would discard it without a message.
            return self.fail(error)
        self._model = model
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe, and start to segment."""
        assert self._model is not None
        assert self._outputs is not None
        self._statistics.resume()
        worker = FrameWorker(
            FrameQueue(keep_all=self._settings.process_every_frame),
            self._model.segmenter,
            self._outputs,
            self._statistics,
            self._filter,
            self,
        )
        try:
            self._subscribe(worker, self._outputs)
        except Exception as error:  # rclpy would discard it without a message.
            self._unsubscribe()
            return self.fail(error)
        self._worker = worker
        worker.start()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, and wait for the current frame."""
        self._unsubscribe()
        if self._worker is not None:
            self._worker.stop()
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the device's memory."""
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = None
        if self._model is not None:
            self._model.segmenter.close()
        self._model = None
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop, and let the process end; `end` waits for the current frame."""
        self._unsubscribe()
        if self._worker is not None:
            self._worker.stop(timeout_s=0.0)
        return super().on_shutdown(state)

    def end(self) -> bool:
        """Log the frame counts; return whether all threads have ended."""
        worker_ended = self._worker is None or self._worker.stop(JOIN_TIMEOUT_S)
        totals = self._statistics.snapshot().totals
        counts = ', '.join(f'{count} {name}' for name, count in totals.items())
        # Not with the node's own logger: /rosout would complain if the context is gone.
        get_logger(f'{NODE_NAME}.summary').info(f'frames: {counts}')
        return worker_ended and (self._loading is None or self._loading.done())

    def _subscribe(self, worker: FrameWorker, outputs: Publishers) -> None:
        self._camera_info_subscription = subscribe_camera_info(self, outputs.relay_camera_info)
        self._image_subscription = ImageSubscription(
            self,
            worker.put,
            self._settings.image_transport,
            self._settings.input_reliability,
            keep_all=self._settings.process_every_frame,
        )
        self.get_logger().info(f'waiting for frames on {self._image_subscription.topic}')

    def _unsubscribe(self) -> None:
        if self._image_subscription is not None:
            self._image_subscription.close()
        self._image_subscription = None
        if self._camera_info_subscription is not None:
            self.destroy_subscription(self._camera_info_subscription)
        self._camera_info_subscription = None

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self._filter.enabled:
            self._statistics.resume()
        self._filter.enabled = request.data
        response.success = True
        response.message = 'enabled' if request.data else 'disabled: frames are not segmented'
        self.get_logger().info(response.message)
        return response

    def _on_set_parameters(self, changes: list[RosParameter]) -> SetParametersResult:
        try:
            self._settings = self._settings.with_changes(changes)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._filter.max_image_age_s = self._settings.max_image_age
        if self._model is not None:
            self._model.apply(self._settings)
        return SetParametersResult(successful=True)

    def _status(self) -> NodeStatus:
        segmenter = self._model.segmenter if self._model else None
        source = self._image_subscription
        return NodeStatus(
            name=self.get_fully_qualified_name(),
            state=lifecycle_state(self),
            enabled=self._filter.enabled,
            input_topic=source.topic if source else '',
            input_reliability=source.reliability if source else '',
            incompatible_qos=source.mismatch if source else '',
            input_hint=source.hint if source else '',
            frames_waiting=self._worker.frames_waiting if self._worker else 0,
            max_image_age_s=self._filter.max_image_age_s,
            device=segmenter.device_name if segmenter else '',
            precision=segmenter.precision if segmenter else '',
            backend=str(segmenter.backend) if segmenter else '',
            gpu_memory_mib=segmenter.gpu_memory_mib() if segmenter else None,
            checkpoint_sha256=segmenter.checkpoint_sha256 if segmenter else '',
        )
