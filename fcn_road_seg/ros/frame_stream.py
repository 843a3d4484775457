"""Subscribes to a camera's frames and gives them to the worker."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fcn_road_seg.ros.frame_queue import FrameQueue
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.frame_worker import FrameFilter, FrameWorker
from fcn_road_seg.ros.ground_stage import GroundStage
from fcn_road_seg.ros.image_subscription import ImageSubscription, subscribe_camera_info
from fcn_road_seg.ros.node_parameters import NodeParameters
from fcn_road_seg.ros.publishers import Publishers

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter


class FrameStream:
    """Subscribes to a camera and segments its frames, from its creation until `stop`.

    Raises:
        ValueError, RuntimeError: the value of a QoS override parameter is invalid; nothing stays
            subscribed.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        segmenter: RoadSegmenter,
        publishers: Publishers,
        statistics: FrameStatistics,
        frame_filter: FrameFilter,
        ground: GroundStage,
    ) -> None:
        every_frame = parameters.process_every_frame
        queue: FrameQueue[Image | CompressedImage] = FrameQueue(keep_all=every_frame)
        self._worker = FrameWorker(
            queue, segmenter, publishers, statistics, frame_filter, ground, node
        )

        def on_camera_info(msg: CameraInfo) -> None:
            publishers.relay_camera_info(msg)
            ground.add_camera_info(msg)

        with ExitStack() as subscriptions:
            camera_info = subscribe_camera_info(node, on_camera_info)
            subscriptions.callback(node.destroy_subscription, camera_info)
            self.image = ImageSubscription(
                node,
                self._worker.put,
                statistics.count_lost,
                parameters.image_transport,
                parameters.input_reliability,
                keep_all=every_frame,
            )
            subscriptions.callback(self.image.close)
            self._worker.start()
            self._subscriptions = subscriptions.pop_all()

    @property
    def frames_waiting(self) -> int:
        return self._worker.frames_waiting

    def stop(self, timeout_s: float | None = None) -> bool:
        """Unsubscribe, discard the waiting frames, and wait for the current one.

        Returns:
            Whether the worker ended within `timeout_s` (None: no limit).
        """
        self._subscriptions.close()
        return self._worker.stop(timeout_s)
