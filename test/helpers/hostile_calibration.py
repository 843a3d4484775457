"""A camera with a hostile camera_info, and a live node that finds the ground from it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psutil
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from fcn_road_seg.ground.grid import OCCUPIED, GroundView
from fcn_road_seg.ros.frame_statistics import FrameStatistics
from fcn_road_seg.ros.ground_stage import GroundStage
from fcn_road_seg.synthetic import SyntheticDrive
from test.conftest import NodeProcess
from test.helpers.hostile_camera import BATCH, COUNTED, NODE, Outcome, draw_each
from test.helpers.hostile_messages import camera_infos
from test.helpers.peer import Peer, iou_of, pixels_of, values_of
from test.ros.test_camera_mounting import DEFAULTS

HW = (240, 320)
# For images of any size, as those with which a peer connects are smaller than the others.
ANY_SIZE = CameraInfo(k=(16.0, 0.0, 16.0, 0.0, 16.0, 8.0, 0.0, 0.0, 1.0))
GOOD = CameraInfo(height=48, width=64, k=(50.0, 0.0, 32.0, 0.0, 50.0, 18.0, 0.0, 0.0, 1.0))


class _Camera:
    """Sends the node calibrations and frames; a GroundStage of its own tells what to expect."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._infos = peer.node.create_publisher(CameraInfo, 'camera_info', 1)
        self.stage = GroundStage(
            peer.node, replace(DEFAULTS, camera_height=1.5), FrameStatistics()
        )
        self._frame, self._label = SyntheticDrive(3_000_007, HW).render(t_s=1.0)
        self._mask: np.ndarray | None = None
        self._grid: np.ndarray | None = None
        self.sent = self._number = 0

    def connect(self) -> None:
        self.stage.add_camera_info(ANY_SIZE)
        timer = self._peer.node.create_timer(0.05, lambda: self._infos.publish(ANY_SIZE))
        self._peer.connect()
        self._peer.node.destroy_timer(timer)

    def use(self, msg: CameraInfo) -> tuple[int, GroundView | None]:
        """Send a calibration; return the stamp of a frame that got it, and its expected view."""
        self._number += 1
        msg.header.frame_id = f'{self._number} {msg.header.frame_id}'
        self.stage.add_camera_info(msg)
        relayed = ''
        # The node receives camera_info as best effort, and perhaps after the frame.
        while relayed != msg.header.frame_id:
            self._infos.publish(msg)
            relayed = self._answer()[1].header.frame_id
        stamp = self._answer()[0]
        ground = self.stage.below({'grid'}, Header(), HW)
        return stamp, ground and ground.view

    def _answer(self) -> tuple[int, CameraInfo]:
        self.sent += 1
        stamp = self._peer.send(self._frame)
        mask, info = self._peer.answer(stamp, without={'grid'})
        pixels = pixels_of(mask)
        if self._mask is None:
            assert iou_of(pixels, self._label) > 0.8
            self._mask = pixels
        assert np.array_equal(pixels, self._mask)
        for topic in ('mask', 'camera_info'):
            self._peer.received[topic].clear()
        return stamp, info

    def check_good(self) -> None:
        """Fail unless a good calibration gives the grid that belongs to the mask."""
        stamp, view = self.use(CameraInfo(height=GOOD.height, width=GOOD.width, k=GOOD.k))
        assert view is not None
        grid = self._peer.answer(stamp, without={'mask', 'camera_info'})[0]
        cells = np.reshape(grid.data, (grid.info.height, grid.info.width))
        if self._grid is None:
            free = view.occupancy(self._mask)
            assert np.mean((cells > OCCUPIED // 2) == (free > OCCUPIED // 2)) > 0.95
            assert len(np.unique(cells)) > 10
            self._grid = cells
        assert np.array_equal(cells, self._grid)

    def stamps_with_grid(self) -> set[int]:
        grids = self._peer.received['grid']
        stamps = set(grids)
        grids.clear()
        return stamps


def throw_camera_infos(start_node: Callable[..., NodeProcess], count: int) -> Outcome:
    """Send a node `count` calibrations, each with frames, and a good one after each batch.

    Fails unless every frame gets the same, correct mask, exactly those frames get a grid whose
    calibration gives a view of the ground, and the others are counted, with the reason.
    """
    node = start_node(*NODE, '-p', 'input_reliability:=reliable', '-p', 'camera_height:=1.5')
    process = psutil.Process(node.process.pid)
    peer = Peer(topics=('mask', 'camera_info', 'grid'))
    camera = _Camera(peer)
    camera.connect()
    camera.check_good()
    outcome = Outcome()
    for number, begin in enumerate(range(0, count, BATCH)):
        before, _ = totals(peer)
        camera.sent = 0
        has_view: dict[int, bool] = {}

        def take(msg: CameraInfo, has_view: dict[int, bool] = has_view) -> None:
            stamp, view = camera.use(msg)
            has_view[stamp] = view is not None

        draw_each(camera_infos(), min(BATCH, count - begin), number, take)
        assert totals(peer)[1] == (camera.stage.problem or 'none')
        # As the grid of this calibration comes last, all others have arrived.
        camera.check_good()
        with_grid = camera.stamps_with_grid()
        assert {stamp: stamp in with_grid for stamp in has_view} == has_view
        *frames, without_ground, grids = totals(peer)[0] - before
        assert grids + without_ground == camera.sent
        # Received and segmented, and nothing else.
        assert frames == [camera.sent, camera.sent, 0, 0, 0, 0]
        outcome.thrown += len(has_view)
        outcome.refused += list(has_view.values()).count(False)
        outcome.rss_mib.append(process.memory_info().rss >> 20)
    peer.close()
    assert node.end(signal.SIGINT, timeout_s=10) == 0
    assert 'Traceback' not in node.log
    return outcome


def totals(peer: Peer) -> tuple[np.ndarray, str]:
    """Return what the node has counted, and why its last frame had no ground."""
    values = values_of(peer.next_diagnostics())
    names = (*(f'frames {name}' for name in COUNTED), 'frames without ground', 'published grid')
    return np.array([int(values[name]) for name in names]), values['ground problem']
