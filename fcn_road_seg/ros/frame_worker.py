"""The worker: a thread that turns queued camera messages into published masks."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.messages.decode import decode_message
from fcn_road_seg.messages.image import Frame, ImageError
from fcn_road_seg.ros.frame_queue import FrameQueue
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS, FrameGround, GroundStage
from fcn_road_seg.ros.publishers import CAMERA_INFO, Publishers

if TYPE_CHECKING:
    from fcn_road_seg.inference.interfaces import Segmentation
    from fcn_road_seg.inference.segmenter import RoadSegmenter

WARNING_THROTTLE: dict[str, Any] = {
    'throttle_duration_sec': 5.0,
    # With the system's clock, a jump back by an hour would suppress the warnings for an hour.
    'throttle_time_source_type': Clock(clock_type=ClockType.STEADY_TIME),
}
OVERLAYS = {'overlay', 'overlay/compressed'}


@dataclass
class FrameFilter:
    """Which frames are segmented; may be changed while they arrive.

    `max_image_age_s` is the largest age of a frame in s; 0 means no limit. `publishing` is held
    while the outputs of a frame are published.
    """

    enabled: bool = True
    max_image_age_s: float = 0.0
    publishing: threading.Lock = field(default_factory=threading.Lock)

    def enable(self, enabled: bool) -> None:
        """Segment frames or not; after `enable(False)` returns, no output is published."""
        with self.publishing:
            self.enabled = enabled


class FrameWorker:
    """Segments the frames of a queue in a thread of its own, and publishes the results.

    It runs from `start` to `stop`, once. A frame that cannot be decoded or segmented is refused,
    and the next one is processed. What happens to each frame is counted in `statistics`. Logger,
    clock and context are those of `node`.
    """

    def __init__(
        self,
        queue: FrameQueue[Image | CompressedImage],
        segmenter: RoadSegmenter,
        publishers: Publishers,
        statistics: FrameStatistics,
        frame_filter: FrameFilter,
        ground: GroundStage,
        node: Node,
    ) -> None:
        self._queue = queue
        self._segmenter = segmenter
        self._publishers = publishers
        self._statistics = statistics
        self._filter = frame_filter
        self._ground = ground
        self._node = node
        self._thread = threading.Thread(target=self._run, name='segmenter', daemon=True)

    @property
    def frames_waiting(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, msg: Image | CompressedImage) -> None:
        """Queue a frame, which replaces a waiting one unless the queue keeps all."""
        self._statistics.count_received()
        if self._filter.enabled:
            self._queue.put(msg)
            self._statistics.count_dropped(self._queue.take_dropped())
        else:
            self._statistics.count_ignored()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Discard the waiting frames, and wait for the current one.

        Returns:
            Whether the thread ended within `timeout_s` (None: no limit).
        """
        self._queue.close()
        self._statistics.count_dropped(self._queue.take_dropped())
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (msg := self._queue.take()) is not None:
            try:
                self._process(msg)
            except ImageError as error:
                self._refuse(str(error))
            except Exception as error:
                if not self._node.context.ok():
                    # The node is ending, and its publishers are gone.
                    return
                # A failure on one frame (such as full GPU memory) must not cost the vehicle the
                # masks of the next ones.
                self._refuse(f'{type(error).__name__}: {error}')

    def _process(self, msg: Image | CompressedImage) -> None:
        wanted = self._publishers.wanted()
        if not wanted or not self._passes_filter(msg.header.stamp):
            return
        began_s = time.monotonic()
        ground = None
        if wanted != {CAMERA_INFO}:
            frame = decode_message(msg)
            ground = self._ground.below(wanted, msg.header, frame.pixels.shape[:2])
        if ground is None and not (wanted := wanted - GROUND_OUTPUTS.keys()):
            return
        if wanted == {CAMERA_INFO}:  # The network is not needed.
            self._publish(wanted, None, msg.header)
            return
        decoded_s = time.monotonic()
        found = self._segment(frame, wanted, ground)
        inference_s = time.monotonic() - decoded_s
        if not self._publish(wanted, found, msg.header, ground):
            return
        overhead_s = None
        if found.network_s is not None:
            overhead_s = time.monotonic() - began_s - found.network_s
        self._statistics.count_segmented(self._age_s(msg.header.stamp), inference_s, overhead_s)

    def _segment(
        self, frame: Frame, wanted: Collection[str], ground: FrameGround | None
    ) -> Segmentation:
        return self._segmenter(
            frame.pixels,
            channel_order=frame.channel_order,
            road_probability='road_probability' in wanted,
            confidence='confidence' in wanted,
            overlay=not OVERLAYS.isdisjoint(wanted),
            pixels=None if ground is None else ground.pixels(wanted),
        )

    def _publish(
        self,
        wanted: set[str],
        found: Segmentation | None,
        header: Header,
        ground: FrameGround | None = None,
    ) -> bool:
        """Publish a frame's outputs, and return whether that was done; count the frame if not."""
        with self._filter.publishing:
            if self._queue.closed:
                # Deactivated in the meantime.
                self._statistics.count_dropped()
                return False
            if not self._filter.enabled:
                # Disabled in the meantime.
                self._statistics.count_ignored()
                return False
            for name in self._publishers.in_order(wanted):
                self._publishers.publish(name, found, header, ground)
                self._statistics.count_published(name)
        return True

    def _passes_filter(self, stamp: Time) -> bool:
        """Return whether a frame is to be segmented, and count it if not."""
        if not self._filter.enabled:
            # Disabled since the frame was queued.
            self._statistics.count_ignored()
            return False
        limit_s, age_s = self._filter.max_image_age_s, self._age_s(stamp)
        if limit_s and age_s is not None and age_s > limit_s:
            self._statistics.count_too_old()
            return False
        return True

    def _age_s(self, stamp: Time) -> float | None:
        """Return the time since `stamp` on the node's clock; None for a frame without a stamp."""
        if not (stamp.sec or stamp.nanosec):
            return None
        now_ns = self._node.get_clock().now().nanoseconds
        return (now_ns - stamp.sec * 1_000_000_000 - stamp.nanosec) / 1e9

    def _refuse(self, reason: str) -> None:
        self._statistics.count_refused(reason)
        logger = self._node.get_logger()
        logger.warning(f'frame refused: {reason}', **WARNING_THROTTLE)
