"""The ground that the camera's frames show, from calibration and mounting to messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from nav_msgs.msg import OccupancyGrid, Path
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from fcn_road_seg.ground.camera import Camera
from fcn_road_seg.ground.corridor import Corridor, find_corridor
from fcn_road_seg.ground.errors import GroundError
from fcn_road_seg.ground.grid import GroundGrid, GroundView
from fcn_road_seg.messages.camera_info import camera_of_info, shown_region
from fcn_road_seg.messages.corridor import edges_msg, path_msg
from fcn_road_seg.messages.ground import grid_msg, points_msg
from fcn_road_seg.ros.camera_mounting import MountingSource
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.node_parameters import NodeParameters

if TYPE_CHECKING:
    from fcn_road_seg.inference.interfaces import Segmentation

# How many cameras, or modes of one camera, may publish on one camera_info topic.
_MAX_CALIBRATIONS = 4
# At the start, frames may arrive before the first camera_info and the first transform.
WARN_AFTER_S = 2.0


class FrameGround:
    """The ground that one frame shows: its view, and the messages made from it."""

    def __init__(self, view: GroundView, parameters: NodeParameters) -> None:
        self.view = view
        self._parameters = parameters
        self._cells: np.ndarray | None = None
        self._corridor: Corridor | None = None

    def pixels(self, wanted: Collection[str]) -> np.ndarray | None:
        """Return the pixels at which the `wanted` outputs need p(road); None if none needs it."""
        return None if OF_PROBABILITY.isdisjoint(wanted) else self.view.pixels

    def grid_msg(self, found: Segmentation, header: Header) -> OccupancyGrid:
        cells = self._occupancy(found)
        return grid_msg(cells, self.view.grid, self._ground_header(header))

    def points_msg(self, found: Segmentation, header: Header) -> PointCloud2:
        return points_msg(self.view.points(self._parameters.points_stride), header)

    def path_msg(self, found: Segmentation, header: Header) -> Path:
        return path_msg(self._find_corridor(found), self._ground_header(header))

    def edges_msg(self, found: Segmentation, header: Header) -> MarkerArray:
        return edges_msg(self._find_corridor(found), self._ground_header(header))

    def _ground_header(self, header: Header) -> Header:
        return Header(stamp=header.stamp, frame_id=self._parameters.ground_frame)

    def _find_corridor(self, found: Segmentation) -> Corridor:
        if self._corridor is None:
            self._corridor = find_corridor(self._occupancy(found), self.view.grid)
        return self._corridor

    def _occupancy(self, found: Segmentation) -> np.ndarray:
        if self._cells is None:
            assert found.road_probability_at is not None, 'the segmenter was not asked for it'
            self._cells = self.view.occupancy_at(found.road_probability_at)
        return self._cells


@dataclass(frozen=True)
class GroundOutput:
    type: type
    message: Callable[[FrameGround, Segmentation, Header], Any]


# By topic name, relative to the node's name.
GROUND_OUTPUTS = {
    'grid': GroundOutput(OccupancyGrid, FrameGround.grid_msg),
    'points': GroundOutput(PointCloud2, FrameGround.points_msg),
    'corridor': GroundOutput(Path, FrameGround.path_msg),
    'corridor/edges': GroundOutput(MarkerArray, FrameGround.edges_msg),
}
# The outputs that are made from p(road).
OF_PROBABILITY = GROUND_OUTPUTS.keys() - {'points'}


class GroundStage:
    """Finds the ground that each frame shows, from camera_info and the camera's mounting.

    `problem` says in one line why the last frame had no ground; '' if it had. A problem that lasts
    for WARN_AFTER_S, by the clock `now_s`, is logged once.
    """

    def __init__(
        self,
        node: Node,
        parameters: NodeParameters,
        statistics: FrameStatistics,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem = ''
        self._now_s = now_s
        self._since_s = 0.0
        self._node = node
        self._statistics = statistics
        self._grid = GroundGrid(
            parameters.grid_x_min,
            parameters.grid_x_max,
            parameters.grid_width,
            parameters.grid_resolution,
        )
        self._parameters = parameters
        self._mounting = MountingSource(node, parameters)
        # The newest camera_info of each size, newest first. The worker's thread reads the tuple,
        # so it is replaced as a whole.
        self._infos: tuple[CameraInfo, ...] = ()
        self._camera: Camera | None = None
        self._camera_key: object = None
        self._mounting_key: object = None
        self._warned: set[str] = set()
        # The error is kept, too, if no cell is in view: finding that out costs as much as a view.
        self._view: GroundView | GroundError | None = None

    def apply(self, parameters: NodeParameters) -> None:
        """Apply the dynamic parameters from the next frame on."""
        self._mounting.apply(parameters)

    def add_camera_info(self, msg: CameraInfo) -> None:
        """Keep a calibration for images of its size; it replaces the previous one of that size."""
        others = (other for other in self._infos if _size(other) != _size(msg))
        self._infos = (msg, *others)[:_MAX_CALIBRATIONS]

    def below(
        self, wanted: Collection[str], header: Header, frame_hw: tuple[int, int]
    ) -> FrameGround | None:
        """Return the ground that a frame shows; None if none of GROUND_OUTPUTS is `wanted`.

        If the ground is unknown, the result is also None, the frame is counted, and `problem` says
        why.
        """
        if GROUND_OUTPUTS.keys().isdisjoint(wanted):
            return None
        try:
            view = self._find_view(header, frame_hw)
        except GroundError as error:
            self._statistics.count_without_ground()
            self._note(str(error))
            return None
        self.problem = ''
        return FrameGround(view, self._parameters)

    def close(self) -> None:
        """Stop listening to tf."""
        self._mounting.close()

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            self.problem, self._since_s = problem, self._now_s()
        if problem not in self._warned and self._now_s() - self._since_s >= WARN_AFTER_S:
            self._warned.add(problem)
            self._node.get_logger().warning(f'no grid, points or corridor: {problem}')

    def _find_view(self, header: Header, frame_hw: tuple[int, int]) -> GroundView:
        """Return the view of the ground; make it again if any of its inputs changed."""
        mounting = self._mounting.mounting(header)
        camera = self._find_camera(frame_hw)
        camera_key = (
            *(frame_hw, camera.matrix.tobytes()),
            *(camera.distortion_model, tuple(camera.distortion)),
        )
        if self._camera is None or self._camera_key != camera_key:
            # Otherwise the last camera is kept, as it caches the rays of its pixels.
            self._camera, self._camera_key, self._view = camera, camera_key, None
        mounting_key = (mounting.rotation.tobytes(), mounting.position.tobytes())
        if self._view is None or self._mounting_key != mounting_key:
            roi_top = self._parameters.roi_top
            try:
                self._view = GroundView(self._camera, mounting, self._grid, roi_top)
            except GroundError as error:
                self._view = error
            self._mounting_key = mounting_key
        if isinstance(self._view, GroundError):
            raise self._view
        return self._view

    def _find_camera(self, frame_hw: tuple[int, int]) -> Camera:
        """Return the camera of the newest camera_info that fits frames of this size."""
        first_error = GroundError(
            'no camera_info has arrived; remap camera_info to the topic of the camera'
        )
        for number, msg in enumerate(_of_size(self._infos, frame_hw)):
            try:
                return camera_of_info(msg, frame_hw, rectified=self._parameters.rectified)
            except GroundError as error:
                if number == 0:
                    first_error = error
        raise first_error


def _size(msg: CameraInfo) -> tuple[int, ...]:
    roi = msg.roi
    return msg.width, msg.height, roi.x_offset, roi.y_offset, roi.width, roi.height


def _of_size(infos: Sequence[CameraInfo], frame_hw: tuple[int, int]) -> Sequence[CameraInfo]:
    """Return the camera_infos of images of this size, in order; all of them if there is none.

    If one is of just this size, those to be scaled to it are of another camera or mode.
    """
    sizes = [_image_hw(msg) for msg in infos]
    if frame_hw not in sizes:
        return infos
    # One without a size, which is 0 then, is for images of any size.
    return [msg for msg, hw in zip(infos, sizes, strict=True) if hw == frame_hw or 0 in hw]


def _image_hw(msg: CameraInfo) -> tuple[int, int]:
    """Return the size that the images have according to a CameraInfo; 0 if it has none."""
    *_, width, height = shown_region(msg)
    return height // max(1, msg.binning_y), width // max(1, msg.binning_x)
