"""How the camera is mounted above the ground, from the node's parameters or from tf."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Time as Stamp
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from fcn_road_seg.ground.errors import MAX_NAME_CHARACTERS, GroundError
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.ros.node_parameters import NodeParameters

# Half of the time for which tf2 keeps a transform.
_MAX_JUMP_BACK_S = 5


class MountingSource:
    """Provides the mounting of the camera.

    It starts to listen to tf when `camera_height` is first 0, if tf2_ros can be imported.
    """

    def __init__(self, node: Node, parameters: NodeParameters) -> None:
        self._node = node
        self._buffer: Any = None
        self._listener: Any = None
        self._no_tf = ''
        self._last_stamp_s = 0
        self.apply(parameters)

    def apply(self, parameters: NodeParameters) -> None:
        """Apply the dynamic parameters from the next frame on."""
        if not parameters.camera_height and self._buffer is None and not self._no_tf:
            self._listen()
        self._parameters = parameters

    def mounting(self, header: Header) -> Mounting:
        """Return the mounting of the camera whose frame has this header.

        Raises:
            GroundError: neither the parameters nor tf provide it; the text says what to set.
        """
        parameters = self._parameters
        if parameters.camera_height:
            return Mounting.from_angles(
                parameters.camera_height, parameters.camera_pitch, parameters.camera_roll
            )
        if self._buffer is None:
            raise GroundError(f'camera_height is 0 and {self._no_tf}; set camera_height')
        return self._from_tf(header, parameters.ground_frame)

    def close(self) -> None:
        """Stop listening to tf."""
        if self._listener is not None:
            self._listener.unregister()
            self._buffer = self._listener = None
            self._no_tf = 'the node no longer listens to tf'

    def _listen(self) -> None:
        try:
            from tf2_ros import Buffer, TransformListener
        except Exception as error:  # If built for another NumPy, it can raise anything.
            self._no_tf = f'tf2_ros cannot be imported ({type(error).__name__})'
            return
        # Made without the node: with it, the buffer would offer a service of its own and, in
        # Humble, fail when time jumps back.
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, self._node)

    def _from_tf(self, header: Header, ground_frame: str) -> Mounting:
        from tf2_ros import ExtrapolationException, TransformException

        self._forget_after_a_jump(header.stamp)
        frames = ground_frame, header.frame_id
        try:
            try:
                # A static transform is the same at any stamp.
                found = self._buffer.lookup_transform(*frames, Time.from_msg(header.stamp))
            except (ExtrapolationException, ValueError):
                # Most frames arrive before the first transform with a later stamp, and rclpy
                # cannot represent a negative stamp. Time() asks for the newest transform.
                found = self._buffer.lookup_transform(*frames, Time())
        except TransformException as error:
            # The error's own text may contain the stamp, so it would differ for each frame.
            raise GroundError(
                'camera_height is 0 and tf has no transform from '
                f'{header.frame_id[:MAX_NAME_CHARACTERS]!r} to '
                f'{ground_frame!r} ({type(error).__name__}); '
                'set camera_height, or publish the transform'
            ) from error
        moved, turned = found.transform.translation, found.transform.rotation
        return Mounting.from_transform(
            (moved.x, moved.y, moved.z), (turned.x, turned.y, turned.z, turned.w)
        )

    def _forget_after_a_jump(self, stamp: Stamp) -> None:
        """Forget all transforms except static ones if the stamps have jumped back.

        When a bag is played again, its transforms are older than those from the end of the first
        playback. tf2 would discard them, and use the last transform for all frames.
        """
        if stamp.sec <= 0:
            return  # The frame has no stamp.
        if stamp.sec < self._last_stamp_s - _MAX_JUMP_BACK_S:
            self._buffer.clear()
        self._last_stamp_s = stamp.sec
