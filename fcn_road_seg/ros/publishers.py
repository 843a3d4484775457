"""The node's publishers: each result is made and sent only while somebody listens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from fcn_road_seg.messages.compressed_image import jpeg_msg, png_msg
from fcn_road_seg.messages.image import image_msg

# At depth 1 the next mask overwrites one that the transport lost before it can be sent again: on
# a loaded machine up to a third of them never arrived (see benchmarks/README.md).
DEPTH = 5
# Where every frame counts, as many as a listener may be behind.
DEPTH_OF_EVERY_FRAME = 200


@dataclass(frozen=True)
class _Output:
    type: type
    message: Callable[[Any, Header], Any]


# By topic name under the node's own; `message` takes a Segmentation and the frame's header. They
# are sent in this order: a mask before its overlay, three times as large, often had to be sent
# again, and came half a second late (see benchmarks/README.md).
OUTPUTS = {
    'overlay': _Output(Image, lambda found, header: image_msg(found.overlay_bgr, 'bgr8', header)),
    'confidence': _Output(
        Image, lambda found, header: image_msg(found.confidence, 'mono8', header)
    ),
    'class_mask': _Output(Image, lambda found, header: image_msg(found.mask & 1, 'mono8', header)),
    'mask': _Output(Image, lambda found, header: image_msg(found.mask, 'mono8', header)),
    'overlay/compressed': _Output(
        CompressedImage, lambda found, header: jpeg_msg(found.overlay_bgr, header)
    ),
    'mask/compressed': _Output(
        CompressedImage, lambda found, header: png_msg(found.mask, 'mono8', header)
    ),
}
CAMERA_INFO = 'camera_info'
LABEL_INFO = 'label_info'


class Publishers:
    """Publishers of `OUTPUTS`, of the relayed camera_info and of the classes' names."""

    def __init__(self, node: Node, class_names: Sequence[str], *, every_frame: bool) -> None:
        self._node = node
        depth = DEPTH_OF_EVERY_FRAME if every_frame else DEPTH
        overriding = QoSOverridingOptions.with_default_policies()
        types = {
            **{name: output.type for name, output in OUTPUTS.items()},
            CAMERA_INFO: CameraInfo,
        }
        self._outputs = {
            name: node.create_publisher(
                kind,
                f'~/{name}',
                # One for each: rclpy writes a topic's overrides into it.
                QoSProfile(depth=depth),
                qos_overriding_options=overriding,
            )
            for name, kind in types.items()
        }
        self._label_info = self._publish_label_info(class_names)

    def wanted(self) -> set[str]:
        """Return the names of the outputs that somebody listens to."""
        return {n for n, p in self._outputs.items() if p.get_subscription_count() > 0}

    def publish(self, name: str, found: Any, header: Header) -> None:
        """Make one of `OUTPUTS` from a Segmentation and send it."""
        self._outputs[name].publish(OUTPUTS[name].message(found, header))

    def publish_camera_info(self, camera_info: CameraInfo, header: Header) -> None:
        """Send `camera_info` under the frame's stamp."""
        camera_info.header.stamp = header.stamp
        self._outputs[CAMERA_INFO].publish(camera_info)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (*self._outputs.values(), self._label_info):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _publish_label_info(self, class_names: Sequence[str]) -> Any:
        """Tell once, for whoever comes, what the numbers of class_mask are."""
        try:
            from vision_msgs.msg import LabelInfo, VisionClass
        except ImportError:
            return None
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        publisher = self._node.create_publisher(
            LabelInfo,
            f'~/{LABEL_INFO}',
            qos,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(class_names)]
        publisher.publish(LabelInfo(class_map=classes))
        return publisher
