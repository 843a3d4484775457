"""Where the camera is above the ground: by the node's parameters, or by tf."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from fcn_road_seg.ground.errors import MAX_NAME_CHARACTERS, GroundError
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.ros.node_parameters import NodeParameters


class MountingSource:
    """The mounting of the camera; listens to tf if `camera_height` is 0 and tf2_ros imports."""

    def __init__(self, node: Node, parameters: NodeParameters) -> None:
        self.parameters = parameters
        self._buffer: Any = None
        self._listener: Any = None
        self._no_tf = 'tf is not listened to, as camera_height was set when the node configured'
        if not parameters.camera_height:
            self._listen(node)

    def mounting(self, header: Header) -> Mounting:
        """Return the mounting of the camera whose frame has this header.

        Raises:
            GroundError: neither parameters nor tf have it; the text says what to set.
        """
        parameters = self.parameters
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

    def _listen(self, node: Node) -> None:
        try:
            from tf2_ros import Buffer, TransformListener
        except Exception as error:  # If built for another NumPy, it can raise anything.
            self._no_tf = f'tf2_ros cannot be imported ({type(error).__name__})'
            return
        # Without the node: with it, the buffer would offer a service of its own and, in Humble,
        # fail when the time jumps back.
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def _from_tf(self, header: Header, ground_frame: str) -> Mounting:
        from tf2_ros import ExtrapolationException, TransformException

        frames = ground_frame, header.frame_id
        try:
            try:
                # A static transform is the same at any stamp.
                found = self._buffer.lookup_transform(*frames, Time.from_msg(header.stamp))
            except ExtrapolationException:
                # Most frames arrive before the first transform with a later stamp, and the stamps
                # of a bag that is played again are before all. Time() asks for the newest.
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
