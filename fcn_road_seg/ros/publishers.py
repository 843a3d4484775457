"""The node's publishers; an output is made and sent only while it has a subscriber."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSPolicyKind, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.messages.compressed_image import jpeg_msg, png_msg
from fcn_road_seg.messages.image import image_msg
from fcn_road_seg.ros.ground_stage import GROUND_OUTPUTS, FrameGround
from fcn_road_seg.ros.qos_overrides import overriding_options

if TYPE_CHECKING:
    from fcn_road_seg.inference.interfaces import Segmentation

# If the transport loses a mask, at depth 1 the next one overwrites it before it can be sent again:
# on a loaded machine up to a third of the masks never arrived (see benchmarks/README.md).
DEPTH = 5
# With process_every_frame: the number of frames that a subscriber may lag behind.
DEPTH_OF_EVERY_FRAME = 200
_OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY)


@dataclass(frozen=True)
class _Output:
    type: type
    message: Callable[[Segmentation, Header], Any]


def _requested(pixels: np.ndarray | None) -> np.ndarray:
    assert pixels is not None, 'the segmenter was not asked for this output'
    return pixels


# By topic name, relative to the node's name, in the order of sending: a mask sent before its
# overlay, which is three times as large, often had to be sent again and arrived half a second
# late (see benchmarks/README.md).
OUTPUTS = {
    'overlay': _Output(
        Image, lambda found, header: image_msg(_requested(found.overlay_bgr), 'bgr8', header)
    ),
    'confidence': _Output(
        Image, lambda found, header: image_msg(_requested(found.confidence), 'mono8', header)
    ),
    'road_probability': _Output(
        Image, lambda found, header: image_msg(_requested(found.road_probability), 'mono8', header)
    ),
    'class_mask': _Output(Image, lambda found, header: image_msg(found.mask & 1, 'mono8', header)),
    'mask': _Output(Image, lambda found, header: image_msg(found.mask, 'mono8', header)),
    'overlay/compressed': _Output(
        CompressedImage, lambda found, header: jpeg_msg(_requested(found.overlay_bgr), header)
    ),
    'mask/compressed': _Output(
        CompressedImage, lambda found, header: png_msg(found.mask, 'mono8', header)
    ),
}
CAMERA_INFO = 'camera_info'
LABEL_INFO = 'label_info'


class Publishers:
    """Publishers of OUTPUTS and GROUND_OUTPUTS, of the relayed camera_info and the class names.

    With `every_frame` a subscriber may lag by DEPTH_OF_EVERY_FRAME messages instead of DEPTH.
    """

    def __init__(self, node: Node, *, every_frame: bool) -> None:
        self._node = node
        self._camera_info: CameraInfo | None = None
        self._published_threshold: float | None = None
        depth = DEPTH_OF_EVERY_FRAME if every_frame else DEPTH
        types = {
            **{name: output.type for name, output in OUTPUTS.items()},
            **{name: output.type for name, output in GROUND_OUTPUTS.items()},
            CAMERA_INFO: CameraInfo,
        }
        # If one cannot be created, those before it are destroyed.
        with ExitStack() as created:
            self._publishers = {
                # A profile for each topic, as rclpy writes the topic's overrides into it.
                name: self._create(created, name, kind, QoSProfile(depth=depth))
                for name, kind in types.items()
            }
            self._label_info = self._create_label_info(created)
            self._created = created.pop_all()

    def relay_camera_info(self, camera_info: CameraInfo) -> None:
        """Keep the camera's newest camera_info, to publish it beside each mask."""
        self._camera_info = camera_info

    def wanted(self) -> set[str]:
        """Return the names of the outputs that have a subscriber."""
        return {n for n, p in self._publishers.items() if p.get_subscription_count() > 0}

    def in_order(self, wanted: set[str]) -> list[str]:
        """Return those of `wanted` that can be published now, in the order of sending."""
        can_relay = self._camera_info is not None
        return [n for n in self._publishers if n in wanted and (n != CAMERA_INFO or can_relay)]

    def publish(
        self,
        name: str,
        found: Segmentation | None,
        header: Header,
        ground: FrameGround | None = None,
    ) -> None:
        """Publish one output of a frame that has this `header` and shows this `ground`.

        The camera_info takes only the stamp of `header`, and does not need `found`.
        """
        if name == CAMERA_INFO:
            camera_info = self._camera_info
            assert camera_info is not None, 'in_order leaves it out'
            camera_info.header.stamp = header.stamp
            self._publishers[name].publish(camera_info)
            return
        assert found is not None, 'the frame was not segmented'
        if name in GROUND_OUTPUTS:
            assert ground is not None, 'the worker leaves it out'
            msg = GROUND_OUTPUTS[name].message(ground, found, header)
            self._publishers[name].publish(msg)
        else:
            self._publishers[name].publish(OUTPUTS[name].message(found, header))

    def publish_label_info(self, threshold: float) -> None:
        """Publish the meaning of the numbers in class_mask, for late subscribers too.

        A pixel is road if its p(road) is at least `threshold`. Nothing is published without
        vision_msgs, or if the threshold is the one published last.
        """
        if self._label_info is None or threshold == self._published_threshold:
            return
        self._published_threshold = threshold
        from vision_msgs.msg import LabelInfo, VisionClass

        # As late as this: the node refuses bad parameters before it imports safetensors.
        from fcn_road_seg.model.checkpoint_file import CLASS_NAMES

        classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(CLASS_NAMES)]
        header = Header(stamp=self._node.get_clock().now().to_msg())
        self._label_info.publish(
            LabelInfo(header=header, class_map=classes, threshold=float(threshold))
        )

    def close(self) -> None:
        """Destroy the publishers."""
        self._created.close()

    def _create_label_info(self, created: ExitStack) -> Any:
        try:
            from vision_msgs.msg import LabelInfo
        except ImportError:
            return None
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        return self._create(created, LABEL_INFO, LabelInfo, qos)

    def _create(self, created: ExitStack, name: str, kind: type, qos: QoSProfile) -> Any:
        topic = f'~/{name}'
        publisher = self._node.create_publisher(
            kind,
            topic,
            qos,
            qos_overriding_options=overriding_options(
                self._node, topic, 'publisher', _OVERRIDABLE
            ),
        )
        created.callback(self._node.destroy_publisher, publisher)
        return publisher
