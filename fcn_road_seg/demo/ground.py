"""The road from above in the demo: calibration of rendered cameras, ground truth, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo

from fcn_road_seg.ground.corridor import find_corridor
from fcn_road_seg.ground.grid import UNSEEN, GroundGrid
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.utils.sampling import evenly_spaced
from fcn_road_seg.viz.contact_sheet import write_png
from fcn_road_seg.viz.ground_panel import draw_grid, ground_panel
from fcn_road_seg.viz.video import atomic_video_writer

# All rendered drives have the same camera height, as if from one vehicle.
CAMERA_HEIGHT_M = 1.65
PICTURE_ROWS = 4
PANEL_HEIGHT = 480
# The node's default grid.
GRID = GroundGrid()
MAX_DISTANCE_M = 20.0


def camera_info_of(drive: SyntheticDrive, frame_hw: tuple[int, int]) -> bytes:
    """Return the serialised CameraInfo of a drive, for its camera at rest, which is level."""
    h, w = frame_hw
    focal = drive.camera(0.0).focal
    msg = CameraInfo(height=h, width=w, distortion_model='plumb_bob')
    msg.k = [focal, 0.0, w / 2, 0.0, focal, drive.world.horizon * h, 0.0, 0.0, 1.0]
    msg.header.frame_id = 'camera'
    return serialize_message(msg)


def road_cells(drive: SyntheticDrive, t_s: float) -> np.ndarray:
    """Return which cells of GRID are road at `t_s` seconds, (H, W) bool, including hidden ones."""
    x, y = np.broadcast_arrays(*GRID.centres_m())
    return drive.is_road(t_s, x, -y)


def grid_iou(messages: Sequence[CameraMessage], recording: Recording) -> float | None:
    """Return the IoU of the grids' road with the exact one, over cells seen up to MAX_DISTANCE_M.

    A cell is road if p(road) is above 0.5. None without grids or exact roads.
    """
    near = GRID.centres_m()[0] < MAX_DISTANCE_M
    common = either = 0
    for message, stamp in zip(messages, recording.stamps_ns, strict=True):
        cells, exact = recording.grids.get(stamp), message.road_cells
        if cells is None or exact is None or cells.shape != exact.shape:
            continue
        found, seen = cells < 50, (cells != UNSEEN) & near
        common += int(np.count_nonzero(found & exact & seen))
        either += int(np.count_nonzero((found | exact) & seen))
    return round(common / either, 4) if either else None


def write_ground_pictures(
    out: Path, messages: Sequence[CameraMessage], recording: Recording, rate_hz: float
) -> None:
    """Write `grid.png` and `grid.mp4` to the folder `out`: frame, overlay and grid side by side.

    The grid shows the lines of its corridor. Writes nothing if no grid came back.

    Raises:
        VideoError: the video cannot be written.
    """
    overlays_bgr = recording.pictures['overlay']
    shown = [
        (message, overlays_bgr[stamp], recording.grids[stamp])
        for message, stamp in zip(messages, recording.stamps_ns, strict=True)
        if stamp in overlays_bgr and stamp in recording.grids
    ]
    if not shown:
        return

    def panel(message: CameraMessage, overlay_bgr: np.ndarray, cells: np.ndarray) -> np.ndarray:
        corridor = find_corridor(cells, GRID)
        edges = [(corridor.x_m, y_m) for y_m in (corridor.left_m, corridor.right_m)]
        lines = [*edges, (corridor.x_m, corridor.centre_m)]
        above = draw_grid(cells, GRID.x_min_m, GRID.resolution_m, PANEL_HEIGHT, lines)
        return ground_panel(message.frame_bgr(), overlay_bgr, above)

    rows = [panel(*item) for item in evenly_spaced(shown, PICTURE_ROWS)]
    write_png(np.vstack(rows), out / 'grid.png')
    with atomic_video_writer(out / 'grid.mp4', rate_hz) as add:
        for item in shown:
            add(panel(*item))
