"""The other side of the node in live tests: camera, listener and manager, over real DDS."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Collection

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import OccupancyGrid, Path
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header

from fcn_road_seg.live.diagnostics_listener import DiagnosticsListener
from fcn_road_seg.live.diagnostics_listener import values_of as values_of
from fcn_road_seg.messages.image import image_msg

TIMEOUT_S = 60.0
# Fast DDS loses an answer if the server has not yet discovered the client that asks.
ANSWER_S = 5.0
# The types of outputs that are not images.
TYPES = {
    'camera_info': CameraInfo,
    'corridor': Path,
    'grid': OccupancyGrid,
    'points': PointCloud2,
}


class Peer:
    """Publishes frames and keeps every answer, by its stamp, and the node's diagnostics."""

    def __init__(
        self,
        namespace: str = '',
        topics: tuple[str, ...] = ('mask', 'overlay'),
        *,
        image_type: type = Image,
        reliability: str = 'reliable',
        depth: int = 50,
    ) -> None:
        self.context = rclpy.Context()
        self.context.init()
        self.node = rclpy.create_node('peer', context=self.context, namespace=namespace)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._image_type = image_type
        self._stamp = 0
        self.offer(reliability, depth)
        self.received: dict[str, dict[int, object]] = {topic: {} for topic in topics}
        self._subscriptions = {topic: self._listen(topic, depth) for topic in topics}
        self._listener = DiagnosticsListener(self.node)

    @property
    def diagnostics(self) -> list[DiagnosticStatus]:
        return self._listener.statuses

    def offer(self, reliability: str, depth: int = 50) -> None:
        """From now on, publish frames only with this reliability."""
        if hasattr(self, '_publisher'):
            self.node.destroy_publisher(self._publisher)
        name = 'image' if self._image_type is Image else 'image/compressed'
        self._reliability = ReliabilityPolicy[reliability.upper()]
        qos = QoSProfile(depth=depth, reliability=self._reliability)
        self._publisher = self.node.create_publisher(self._image_type, name, qos)

    def _listen(self, topic: str, depth: int) -> object:
        image_type = CompressedImage if topic.endswith('/compressed') else Image
        return self.node.create_subscription(
            TYPES.get(topic, image_type),
            f'fcn_road_seg/{topic}',
            lambda msg: self.received[topic].update({msg.header.stamp.sec: msg}),
            QoSProfile(depth=depth),
        )

    def stop_listening(self, topic: str) -> None:
        self.node.destroy_subscription(self._subscriptions.pop(topic))
        del self.received[topic]

    def call(self, service_type: type, name: str, **request: object) -> object:
        """Call a service of the node and return its answer.

        A request is repeated if its answer seems lost, except for a transition, which could then
        happen twice.
        """
        client = self.node.create_client(service_type, f'fcn_road_seg/{name}')
        self.spin_until(client.service_is_ready)
        if service_type is ChangeState:
            # The node gets to know clients in the order of their creation: if it can answer a
            # later one, its answer to this one cannot get lost.
            self.state()
        future = client.call_async(service_type.Request(**request))
        if not self.spin_for(ANSWER_S, future.done) and service_type is not ChangeState:
            future = client.call_async(service_type.Request(**request))
        self.spin_until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def transition(self, label: str) -> bool:
        """Request a lifecycle transition; return whether it succeeded."""
        answer = self.call(ChangeState, 'change_state', transition=Transition(label=label))
        return bool(answer.success)

    def state(self) -> str:
        return str(self.call(GetState, 'get_state').current_state.label)

    def set_parameter(self, name: str, **value: object) -> object:
        """Set a parameter (such as `double_value=0.5`); return the result with its reason."""
        types = {
            'bool_value': 1,
            'integer_value': 2,
            'double_value': 3,
            'string_value': 4,
            'integer_array_value': 7,
        }
        (field,) = value
        parameter = Parameter(name=name, value=ParameterValue(type=types[field], **value))
        (result,) = self.call(SetParameters, 'set_parameters', parameters=[parameter]).results
        return result

    def next_diagnostics(self) -> DiagnosticStatus:
        """Wait for a status measured after this call, and return it."""
        return self._listener.next(self._spin_once, TIMEOUT_S)

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def send(self, frame: np.ndarray, encoding: str = 'bgr8') -> int:
        """Publish a frame with the next stamp (s), and return the stamp."""
        self._stamp += 1
        header = Header(frame_id=f'camera_{self._stamp}')
        header.stamp.sec, header.stamp.nanosec = self._stamp, 123_456_789
        if self._image_type is CompressedImage:
            png = cv2.imencode('.png', frame)[1].tobytes()
            self.publish(CompressedImage(header=header, format='png', data=array('B', png)))
        else:
            self.publish(image_msg(frame, encoding, header))
        return self._stamp

    def publish(self, msg: object) -> None:
        self._publisher.publish(msg)

    def spin_until(self, done: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
        """Spin until `done` is true; fail after the timeout."""
        assert self.spin_for(timeout_s, done), f'nothing came back within {timeout_s} s'

    def spin_for(self, seconds: float, done: Callable[[], object] = lambda: False) -> bool:
        """Spin for this time or until `done` is true; return whether it is."""
        deadline = time.monotonic() + seconds
        while not (is_done := bool(done())) and time.monotonic() < deadline:
            self._spin_once()
        return is_done

    def _spin_once(self) -> None:
        self._executor.spin_once(timeout_sec=0.05)

    def answer(
        self, stamp: int, timeout_s: float = TIMEOUT_S, *, without: Collection[str] = ()
    ) -> list[Image]:
        """Wait for what comes back for a stamp, one message per topic, and return it."""
        answers = [messages for topic, messages in self.received.items() if topic not in without]
        self.spin_until(lambda: all(stamp in messages for messages in answers), timeout_s)
        return [messages[stamp] for messages in answers]

    def connect(self) -> None:
        """Send small frames until one comes back on every topic: discovery is complete."""
        small = np.zeros((32, 32, 3), np.uint8)
        deadline = time.monotonic() + TIMEOUT_S
        first = self._stamp + 1
        while not all(any(s >= first for s in m) for m in self.received.values()):
            assert time.monotonic() < deadline, f'no node answered within {TIMEOUT_S} s'
            self.send(small)
            self.spin_for(0.5)
            if not self._is_heard_as_offered():
                first = self._stamp + 1
        # The other answers to the frames sent here must not arrive during a test.
        self.spin_until(lambda: all(self._stamp in m for m in self.received.values()))

    def _is_heard_as_offered(self) -> bool:
        """Whether the node hears the frames with the reliability that this peer offers.

        A node that follows its publishers loses a frame that arrives while it resubscribes.
        """
        infos = self.node.get_subscriptions_info_by_topic(self._publisher.topic_name)
        # Other nodes, such as RViz, may listen to the camera with another reliability.
        heard = {i.qos_profile.reliability for i in infos if i.node_name == 'fcn_road_seg'}
        return heard == {self._reliability}

    def is_heard(self) -> bool:
        return self._publisher.get_subscription_count() > 0


def pixels_of(msg: Image) -> np.ndarray:
    """Return a mask's (H, W) or an overlay's (H, W, 3) pixels."""
    flat = np.frombuffer(msg.data, np.uint8)
    if isinstance(msg, CompressedImage):
        return cv2.imdecode(flat, cv2.IMREAD_UNCHANGED)
    return flat.reshape(msg.height, msg.width, -1).squeeze(-1 if msg.encoding == 'mono8' else ())


def iou_of(mask: np.ndarray, label: np.ndarray) -> float:
    road, labelled = mask > 0, label == 1
    return float((road & labelled).sum() / (road | labelled).sum())
