"""What to read from a bag and what to write for it, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fcn_road_seg.bags.grids import GridMaker
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.ground.mounting import Mounting


@dataclass(frozen=True)
class GridOptions:
    """The cameras' mounting, as for `Mounting.from_angles`, and the segmenter's `roi_top`."""

    height_m: float
    pitch_rad: float = 0.0
    roll_rad: float = 0.0
    roi_top: float = 0.0

    def mounting(self) -> Mounting:
        """Return the mounting.

        Raises:
            GroundError: as Mounting.
        """
        return Mounting.from_angles(self.height_m, self.pitch_rad, self.roll_rad)

    def makers(self, reader: BagReader, cameras: Sequence[str]) -> dict[str, GridMaker]:
        """Return the maker of the grids of each camera of a bag.

        Raises:
            BagError, GroundError: as GridMaker and Mounting.
        """
        mounting = self.mounting()
        return {camera: GridMaker(reader, camera, mounting, self.roi_top) for camera in cameras}


@dataclass(frozen=True)
class BagOptions:
    """Image topics to segment (empty: all), outputs by their names, and the storage format.

    `originals` copies the input's topics; if `grid` is None, no grids are written.
    """

    topics: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ('mask',)
    originals: bool = False
    storage: str = 'mcap'
    grid: GridOptions | None = None
