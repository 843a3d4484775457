"""TODO: one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from fcn_road_seg.bags.typestore import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    MAX_STAMP_NS,
    header,
    message,
)
from fcn_road_seg.bags.writer import BagWriter
from fcn_road_seg.datasets.kitti_sequences import Camera, KittiFrame, KittiSequence
from fcn_road_seg.messages.compressed_image import compressed_to_frame
from fcn_road_seg.messages.image import ImageError, image_fields

IMAGE_TOPIC = '/kitti/camera_color_left/image_raw'
FRAME_ID = 'camera_color_left_optical_frame'
_FORMATS = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg'}


class FrameError(ValueError):
    """A frame that cannot go into the bag; the message names it and what to do."""


@dataclass(frozen=True)
class ConversionOptions:
    """What to write of a sequence, and how.

    `start` and `end` are the numbers of the first and the last frame. `compressed` keeps the
    files' own bytes. `skip_bad` leaves out what cannot be used, instead of ending.
    """

    image_topic: str = IMAGE_TOPIC
    camera_info_topic: str | None = None
    frame_id: str = FRAME_ID
    compressed: bool = False
    start: int | None = None
    end: int | None = None
    skip_bad: bool = False

    @property
    def written_image_topic(self) -> str:
        """The name as image_transport has it."""
        return f'{self.image_topic}/compressed' if self.compressed else self.image_topic

    @property
    def written_camera_info_topic(self) -> str:
        """The one beside the image, if no other was named."""
        beside = f'{self.image_topic.rpartition("/")[0]}/camera_info'
        return self.camera_info_topic or beside

    def takes(self, number: int) -> bool:
        """Return whether a frame's number is within start and end."""
        after_start = self.start is None or number >= self.start
        return after_start and (self.end is None or number <= self.end)


@dataclass
class ConversionCounts:
    """What became of the frames; `bad` tells of each that was left out.

    `calibrated_wh` is the size of the frames that the calibration is for, where frames have
    another.
    """

    frames: int = 0
    without_camera_info: int = 0
    sizes_wh: set[tuple[int, int]] = field(default_factory=set)
    calibrated_wh: tuple[int, int] | None = None
    first_ns: int = 0
    last_ns: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, frame: KittiFrame, size_wh: tuple[int, int]) -> None:
        """Count a frame that was written."""
        self.first_ns = self.first_ns if self.frames else frame.stamp_ns
        self.last_ns = frame.stamp_ns
        self.frames += 1
        self.sizes_wh.add(size_wh)
        if frame.camera is None:
            self.without_camera_info += 1
        elif frame.camera.frame_wh not in (None, size_wh):
            self.calibrated_wh = frame.camera.frame_wh


class KittiConverter:
    """Writes the frames of a sequence into a bag, and counts them in `tally`."""

    def __init__(self, sequence: KittiSequence, bag: BagWriter, plan: ConversionOptions) -> None:
        self._sequence = sequence
        self._bag = bag
        self._plan = plan
        self.tally = ConversionCounts()

    def run(self) -> None:
        """Write images and CameraInfo under their stamps, with a progress bar.

        Raises:
            FrameError: there is no frame from start to end, none that can be used, or, unless
                bad ones are skipped, one that cannot be.
        """
        frames = [frame for frame in self._sequence.frames if self._plan.takes(frame.number)]
        if not frames:
            numbers = [frame.number for frame in self._sequence.frames]
            raise FrameError(
                f'no frame is from --start to --end; there are {numbers[0]} to {numbers[-1]}'
            )
        self._bag.add(
            self._plan.written_image_topic, COMPRESSED_IMAGE if self._plan.compressed else IMAGE
        )
        if any(frame.camera for frame in frames):
            self._bag.add(self._plan.written_camera_info_topic, CAMERA_INFO)
        # All problems that are known come before the first frame is read: who has to mend
        # something learns it at once.
        usable = [frame for frame in frames if not self._left_out(frame.number, _problem(frame))]
        for frame in tqdm(usable, desc='kitti_to_bag', unit='frame'):
            try:
                self._write(frame)
            except FrameError as error:
                self._left_out(frame.number, str(error))
        if not self.tally.frames:
            raise FrameError(f'no frame can be used; {self.tally.bad[0]}')

    def _left_out(self, number: int, problem: str) -> bool:
        """Count a frame that has a problem; return whether it has."""
        if problem:
            text = f'frame {number} {problem}'
            if not self._plan.skip_bad:
                raise FrameError(f'{text}; mend it, or leave such frames out with --skip-bad')
            self.tally.bad.append(text)
        return bool(problem)

    def _write(self, frame: KittiFrame) -> None:
        pixels, image = _read(frame, self._plan)
        size_wh = pixels.shape[1], pixels.shape[0]
        for before_wh in self.tally.sizes_wh if self._sequence.one_size else ():
            if size_wh != before_wh:
                sizes = '{} x {}, unlike those before, {} x {}'.format(*size_wh, *before_wh)
                raise FrameError(f'({frame.path}) is {sizes}')
        self._bag.write(self._plan.written_image_topic, frame.stamp_ns, image)
        if frame.camera:
            info = camera_info(frame.camera, size_wh, image.header)
            self._bag.write(self._plan.written_camera_info_topic, frame.stamp_ns, info)
        self.tally.add(frame, size_wh)


def _problem(frame: KittiFrame) -> str:
    if frame.problem:
        return f'({frame.path}) {frame.problem}'
    if not 0 <= frame.stamp_ns <= MAX_STAMP_NS:
        return f'({frame.path}) has a time of {frame.stamp_ns} ns, which does not fit a stamp'
    return ''


def _read(frame: KittiFrame, plan: ConversionOptions) -> tuple[np.ndarray, Any]:
    """Return a frame's pixels, (H, W, 3) uint8 bgr, and its message."""
    try:
        file = message(
            COMPRESSED_IMAGE,
            header=header(frame.stamp_ns, plan.frame_id),
            format=_FORMATS[frame.path.suffix.lower()],
            data=np.frombuffer(frame.path.read_bytes(), np.uint8),
        )
        # Even where its bytes are kept: who plays the bag must be able to read them.
        pixels = compressed_to_frame(file).pixels
    except OSError as error:
        raise FrameError(f'({frame.path}) cannot be read: {error.strerror}') from error
    except ImageError as error:
        # The rest of the line is advice about cameras.
        reason = str(error).partition(';')[0]
        raise FrameError(f'({frame.path}) cannot be read: {reason}') from error
    if plan.compressed:
        return pixels, file
    return pixels, message(IMAGE, header=file.header, **image_fields(pixels, 'bgr8'))


def camera_info(camera: Camera, size_wh: tuple[int, int], image_header: Any) -> Any:
    """Return a CameraInfo message of a frame of this size."""
    w, h = size_wh
    whole = message(
        'sensor_msgs/msg/RegionOfInterest',
        **dict.fromkeys(('x_offset', 'y_offset', 'height', 'width'), 0),
        do_rectify=False,
    )
    return message(
        CAMERA_INFO,
        header=image_header,
        height=h,
        width=w,
        distortion_model='plumb_bob',
        d=camera.d,
        k=camera.k.ravel(),
        r=camera.r.ravel(),
        p=camera.p.ravel(),
        binning_x=0,
        binning_y=0,
        roi=whole,
    )
