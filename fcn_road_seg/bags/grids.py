"""Occupancy grids for a bag's cameras: the road from above, using each camera's CameraInfo."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, BagError, message
from fcn_road_seg.ground.grid import GROUND_FRAME, GroundGrid, GroundView
from fcn_road_seg.ground.mounting import Mounting
from fcn_road_seg.messages.camera_info import camera_of_info

GRID = 'nav_msgs/msg/OccupancyGrid'


class GridMaker:
    """Makes the grids of one camera, from the newest CameraInfo at the time of each frame.

    Frames before the first CameraInfo use the first one. `roi_top` is the segmenter's.

    Raises:
        BagError: the bag has no CameraInfo beside the images, or one is damaged.
    """

    def __init__(
        self, reader: BagReader, camera: str, mounting: Mounting, roi_top: float = 0.0
    ) -> None:
        name = camera.removesuffix('/compressed').rpartition('/')[0] + '/camera_info'
        topic = reader.topics.get(name)
        self._calibrations: list[tuple[int, Any]] = []
        if topic is not None and topic.type == CAMERA_INFO:
            for item in reader.messages([name]):
                info = item.parsed()
                if not self._calibrations or not _is_same(info, self._calibrations[-1][1]):
                    self._calibrations.append((item.time_ns, info))
        if not self._calibrations:
            raise BagError(
                f'--grid needs the calibration of {camera}, but the bag has no CameraInfo on '
                f'{name}; record it as well, or leave --grid out'
            )
        self._mounting, self._roi_top = mounting, roi_top
        self._grid = GroundGrid()
        self._key: object = None

    def message(self, time_ns: int, stamp: Any, road_probability: np.ndarray) -> Any:
        """Return the OccupancyGrid of a frame, given 255 * p(road) as (H, W) uint8.

        `time_ns` is when the frame was recorded.

        Raises:
            GroundError: the CameraInfo does not fit these frames, or the grid is not in view.
        """
        newest = bisect_right(self._calibrations, time_ns, key=lambda item: item[0]) - 1
        index, hw = max(0, newest), road_probability.shape
        if self._key != (index, hw):
            camera = camera_of_info(self._calibrations[index][1], hw, rectified=False)
            self._view = GroundView(camera, self._mounting, self._grid, self._roi_top)
            self._key = (index, hw)
        cells = self._view.occupancy(road_probability)
        x, y = self._grid.origin_xy_m
        position = message('geometry_msgs/msg/Point', x=x, y=y, z=0.0)
        orientation = message('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        return message(
            GRID,
            header=message('std_msgs/msg/Header', stamp=stamp, frame_id=GROUND_FRAME),
            info=message(
                'nav_msgs/msg/MapMetaData',
                map_load_time=stamp,
                resolution=self._grid.resolution_m,
                width=cells.shape[1],
                height=cells.shape[0],
                origin=message(
                    'geometry_msgs/msg/Pose', position=position, orientation=orientation
                ),
            ),
            data=cells.reshape(-1),
        )


def _is_same(info: Any, other: Any) -> bool:
    """Return whether two CameraInfo messages have the same calibration."""
    names = ('height', 'width', 'distortion_model', 'roi')
    return all(getattr(info, name) == getattr(other, name) for name in names) and all(
        np.array_equal(getattr(info, name), getattr(other, name)) for name in ('k', 'd')
    )
