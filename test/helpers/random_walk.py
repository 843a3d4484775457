"""A random walk of a live node: transitions, settings and listeners change while frames arrive."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import numpy as np
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool

from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.messages.image import image_msg
from fcn_road_seg.ros.publishers import OUTPUTS
from test.helpers.peer import TYPES, Peer, pixels_of, values_of

# These make the masks the same, to the bit, as those of a segmenter in the test's process.
NODE_ARGS = ('autostart:=false', 'backend:=torch', 'precision:=float32', 'device:=cpu')
RATE_HZ = 100.0
RELIABILITIES = (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
SIZES_HW = [(48, 64), (120, 160), (33, 57), (240, 320)]
NEXT_STATE = {
    ('unconfigured', 'configure'): 'inactive',
    ('inactive', 'activate'): 'active',
    ('active', 'deactivate'): 'inactive',
    ('inactive', 'cleanup'): 'unconfigured',
}
# The field of a ParameterValue, and the values to choose from.
DYNAMIC = {
    'threshold': ('double_value', [0.0, 0.3, 0.5, 0.9]),
    'min_region': ('double_value', [0.0, 0.001, 0.05]),
    'overlay_alpha': ('double_value', [0.0, 0.4, 1.0]),
    'overlay_color': ('integer_array_value', [[0, 255, 0], [255, 0, 9]]),
    'max_image_age': ('double_value', [0.0, 0.05, 3600.0]),
    'camera_height': ('double_value', [0.0, 1.5, 100.0]),
    'camera_pitch': ('double_value', [0.0, 0.3, -0.5]),
}
STATIC = {
    'roi_top': ('double_value', [0.0, 0.3]),
    'input_height': ('integer_value', [0, 64, 96]),
    'input_width': ('integer_value', [0, 64, 128]),
    'process_every_frame': ('bool_value', [False, True]),
    'input_reliability': ('string_value', ['auto', 'best_effort']),
    'grid_resolution': ('double_value', [0.1, 2.0]),
    'num_threads': ('integer_value', [0, 1]),
}


class Camera:
    """Publishes noise of changing size at RATE_HZ, in a thread, until `close`."""

    def __init__(self) -> None:
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node('camera', context=self._context)
        self._noise = np.random.default_rng(0)
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._ended = threading.Event()
        self.offer(ReliabilityPolicy.RELIABLE)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def offer(self, reliability: ReliabilityPolicy) -> None:
        """Publish with this reliability from now on."""
        with self._lock:
            if hasattr(self, '_publisher'):
                self._node.destroy_publisher(self._publisher)
            qos = QoSProfile(depth=5, reliability=reliability)
            self._publisher = self._node.create_publisher(Image, 'image', qos)

    def run(self, *, running: bool) -> None:
        """Start or stop publishing at RATE_HZ; after a stop returns, no frame follows."""
        with self._lock:
            (self._running.set if running else self._running.clear)()

    def send(self, hw: tuple[int, int]) -> tuple[np.ndarray, Header]:
        """Publish one frame, and return it with its header."""
        frame = self._noise.integers(0, 256, (*hw, 3), np.uint8)
        header = Header(frame_id='camera', stamp=self._node.get_clock().now().to_msg())
        self._publisher.publish(image_msg(frame, 'bgr8', header))
        return frame, header

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._context.try_shutdown()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(1 / RATE_HZ):
            with self._lock:
                if self._running.is_set():
                    self.send(SIZES_HW[number // 40 % len(SIZES_HW)])
                    number += 1


class RandomWalk:
    """Randomly changes a node that was started with NODE_ARGS, and checks the results."""

    def __init__(self, peer: Peer, camera: Camera, checkpoint: Path, seed: int) -> None:
        self._peer, self._camera, self._checkpoint = peer, camera, checkpoint
        self._random = Random(seed)
        self._state = 'unconfigured'
        self._values = {name: choices[0] for name, (_, choices) in (DYNAMIC | STATIC).items()}
        self._listeners: dict[str, object] = {}
        self._masks: dict[tuple[int, int], Image] = {}
        self._camera_info = peer.node.create_publisher(CameraInfo, 'camera_info', 5)
        self.masks_compared = 0

    def step(self) -> None:
        """Change one thing, and return at once or a little later."""
        is_active = self._state == 'active'
        kinds = {
            self._move: 1 if is_active else 20,
            self._move_wrongly: 1,
            self._set_dynamic: 16,
            self._set_static: 1 if is_active else 6,
            self._enable: 2,
            self._listen: 5,
            self._calibrate: 3,
            self._change_reliability: 1,
        }
        (change,) = self._random.choices(list(kinds), list(kinds.values()))
        change()
        self._peer.spin_for(self._random.choice([0.0, 0.02, 0.1]))

    def check(self) -> None:
        """Stop the camera; check that no frame was refused or counted twice, and the next mask."""
        self._camera.run(running=False)
        values = self._settled()
        counts = {name: int(values[f'frames {name}']) for name in ('received', 'refused')}
        ends = ('segmented', 'dropped', 'too old', 'ignored')
        assert counts['refused'] == 0, values['last error']
        assert sum(int(values[f'frames {name}']) for name in ends) <= counts['received']
        assert self._peer.state() == self._state
        if self._state == 'active':
            self._compare_mask()
        self._camera.run(running=True)

    def _settled(self) -> dict[str, str]:
        """Return the diagnostics once no frame arrives or waits any more."""
        before: dict[str, str] = {}
        while True:
            values = values_of(self._peer.next_diagnostics())
            counts = {name: value for name, value in values.items() if name.startswith('frames ')}
            if counts == before and counts['frames waiting'] == '0':
                return values
            before = counts

    def _compare_mask(self) -> None:
        self._set('max_image_age', 0.0)
        assert self._peer.call(SetBool, 'enable', data=True).success
        if 'mask' not in self._listeners:
            self._listen('mask')
        sent = {}
        while self._masks.keys().isdisjoint(sent):
            frame, header = self._camera.send(self._random.choice(SIZES_HW))
            sent[header.stamp.sec, header.stamp.nanosec] = frame
            self._peer.spin_for(0.3)
        (stamp, *_) = self._masks.keys() & sent.keys()
        height, width = self._values['input_height'], self._values['input_width']
        segmenter = RoadSegmenter(
            self._checkpoint,
            'cpu',
            'float32',
            input_hw=(height, width) if height else None,
            backend='torch',
            roi_top=self._values['roi_top'],
        )
        segmenter.threshold = self._values['threshold'] or segmenter.threshold
        segmenter.min_region = self._values['min_region']
        np.testing.assert_array_equal(
            pixels_of(self._masks[stamp]), segmenter(sent[stamp]).mask, str(self._values)
        )
        self.masks_compared += 1

    def _move(self) -> None:
        label = self._random.choice([label for state, label in NEXT_STATE if state == self._state])
        is_sized = bool(self._values['input_height']) == bool(self._values['input_width'])
        assert self._peer.transition(label) == (is_sized or label != 'configure')
        if is_sized or label != 'configure':
            self._state = NEXT_STATE[self._state, label]

    def _move_wrongly(self) -> None:
        label = self._random.choice([label for state, label in NEXT_STATE if state != self._state])
        if (self._state, label) not in NEXT_STATE:
            assert not self._peer.transition(label)

    def _set_dynamic(self) -> None:
        name = self._random.choice(list(DYNAMIC))
        self._set(name, self._random.choice(DYNAMIC[name][1]))

    def _set_static(self) -> None:
        name = self._random.choice(list(STATIC))
        self._set(name, self._random.choice(STATIC[name][1]))

    def _set(self, name: str, value: object) -> None:
        result = self._peer.set_parameter(name, **{(DYNAMIC | STATIC)[name][0]: value})
        is_allowed = name in DYNAMIC or self._state == 'unconfigured'
        assert result.successful == (is_allowed or value == self._values[name]), result.reason
        if result.successful:
            self._values[name] = value

    def _enable(self) -> None:
        assert self._peer.call(SetBool, 'enable', data=self._random.random() < 0.7).success

    def _listen(self, output: str = '') -> None:
        output = output or self._random.choice([*OUTPUTS, 'camera_info'])
        if output in self._listeners:
            self._peer.node.destroy_subscription(self._listeners.pop(output))
            return
        image_type = CompressedImage if output.endswith('/compressed') else Image
        self._listeners[output] = self._peer.node.create_subscription(
            TYPES.get(output, image_type),
            f'fcn_road_seg/{output}',
            self._keep_mask if output == 'mask' else lambda _: None,
            QoSProfile(depth=5, reliability=self._random.choice(RELIABILITIES)),
        )

    def _keep_mask(self, msg: Image) -> None:
        self._masks[msg.header.stamp.sec, msg.header.stamp.nanosec] = msg

    def _calibrate(self) -> None:
        h, w = self._random.choice(SIZES_HW)
        k = [50.0, 0.0, w / 2, 0.0, 50.0, h / 2, 0.0, 0.0, 1.0]
        p = [50.0, 0.0, w / 2, 0.0, 0.0, 50.0, h / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
        info = CameraInfo(height=h, width=w, distortion_model='plumb_bob', d=[0.0] * 5, k=k, p=p)
        info.header.frame_id = 'camera'
        self._camera_info.publish(self._random.choice([info, CameraInfo()]))

    def _change_reliability(self) -> None:
        self._camera.offer(self._random.choice(RELIABILITIES))
