"""Converts a KITTI sequence to a rosbag2 with images and CameraInfo."""

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
from fcn_road_seg.messages.image import image_fields
from fcn_road_seg.utils.picture import PictureError, decode_picture

IMAGE_TOPIC = '/kitti/camera_color_left/image_raw'
FRAME_ID = 'camera_color_left_optical_frame'
_FORMATS = {'.png': 'png', '.jpg': 'jpeg', '.jpeg': 'jpeg'}


class FrameError(ValueError):
    """A frame cannot be written to the bag; the text names the frame and the remedy."""


@dataclass(frozen=True)
class ConversionOptions:
    """Which frames of a sequence to write, and in which form.

    `start` and `end` are the numbers of the first and last frame, both included. `compressed`
    keeps the files' own bytes. `skip_bad` leaves out frames that cannot be used; without it, the
    first one is an error.
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
        """The topic of the images, as image_transport names it."""
        return f'{self.image_topic}/compressed' if self.compressed else self.image_topic

    @property
    def written_camera_info_topic(self) -> str:
        """The topic of CameraInfo: `camera_info_topic`, or else camera_info beside the image."""
        beside = f'{self.image_topic.rpartition("/")[0]}/camera_info'
        return self.camera_info_topic or beside

    def contains(self, number: int) -> bool:
        """Return whether a frame number is within `start` and `end`."""
        after_start = self.start is None or number >= self.start
        return after_start and (self.end is None or number <= self.end)


@dataclass
class ConversionCounts:
    """Numbers and sizes of the frames written; `bad` has one line for each frame left out.

    `calibrated_wh` is the frame size of the calibration, if frames differ from it.
    """

    frames: int = 0
    without_camera_info: int = 0
    sizes_wh: set[tuple[int, int]] = field(default_factory=set)
    calibrated_wh: tuple[int, int] | None = None
    first_ns: int = 0
    last_ns: int = 0
    bad: list[str] = field(default_factory=list)

    def add(self, frame: KittiFrame, size_wh: tuple[int, int]) -> None:
        """Count a frame that was written; its size is in pixels."""
        self.first_ns = self.first_ns if self.frames else frame.stamp_ns
        self.last_ns = frame.stamp_ns
        self.frames += 1
        self.sizes_wh.add(size_wh)
        if frame.camera is None:
            self.without_camera_info += 1
        elif frame.camera.frame_wh not in (None, size_wh):
            self.calibrated_wh = frame.camera.frame_wh


class KittiConverter:
    """Writes the frames of `sequence` to `bag`, and counts them in `counts`."""

    def __init__(
        self, sequence: KittiSequence, bag: BagWriter, options: ConversionOptions
    ) -> None:
        self._sequence = sequence
        self._bag = bag
        self._options = options
        self.counts = ConversionCounts()

    def run(self) -> None:
        """Write images and CameraInfo with their stamps, with a progress bar.

        Raises:
            FrameError: no frame is within `start` and `end`, none of them can be used, or one
                cannot be used and `skip_bad` is off.
            BagError: images and CameraInfo would have the same topic.
        """
        frames = [frame for frame in self._sequence.frames if self._options.contains(frame.number)]
        if not frames:
            numbers = [frame.number for frame in self._sequence.frames]
            raise FrameError(
                'no frame is within --start and --end; '
                f'the frames are {numbers[0]} to {numbers[-1]}'
            )
        self._bag.add(
            self._options.written_image_topic,
            COMPRESSED_IMAGE if self._options.compressed else IMAGE,
        )
        if any(frame.camera for frame in frames):
            self._bag.add(self._options.written_camera_info_topic, CAMERA_INFO)
        # Problems that are known without reading a frame are reported at once.
        usable = []
        for frame in frames:
            if problem := _problem(frame):
                self._leave_out(frame, problem)
            else:
                usable.append(frame)
        for frame in tqdm(usable, desc='kitti_to_bag', unit='frame'):
            try:
                self._write(frame)
            except FrameError as error:
                self._leave_out(frame, str(error))
        if not self.counts.frames:
            raise FrameError(f'no frame can be used; {self.counts.bad[0]}')

    def _leave_out(self, frame: KittiFrame, problem: str) -> None:
        """Count a frame that cannot be used; raise FrameError unless such frames are skipped."""
        text = f'frame {frame.number} {problem}'
        if not self._options.skip_bad:
            raise FrameError(f'{text}; repair it, or skip such frames with --skip-bad')
        self.counts.bad.append(text)

    def _write(self, frame: KittiFrame) -> None:
        pixels, image = _read(frame, self._options)
        size_wh = pixels.shape[1], pixels.shape[0]
        for before_wh in self.counts.sizes_wh if self._sequence.one_size else ():
            if size_wh != before_wh:
                w, h = before_wh
                raise FrameError(
                    f'({frame.path}) is {size_wh[0]} x {size_wh[1]}, but earlier frames are '
                    f'{w} x {h}'
                )
        self._bag.write(self._options.written_image_topic, frame.stamp_ns, image)
        if frame.camera:
            info = camera_info(frame.camera, size_wh, image.header)
            self._bag.write(self._options.written_camera_info_topic, frame.stamp_ns, info)
        self.counts.add(frame, size_wh)


def _problem(frame: KittiFrame) -> str:
    if frame.problem:
        return f'({frame.path}) {frame.problem}'
    if not 0 <= frame.stamp_ns <= MAX_STAMP_NS:
        return f'({frame.path}) has the time {frame.stamp_ns} ns, which is not a valid timestamp'
    return ''


def _read(frame: KittiFrame, options: ConversionOptions) -> tuple[np.ndarray, Any]:
    """Return the pixels of a frame, (H, W, 3) uint8 bgr, and its message."""
    try:
        data = frame.path.read_bytes()
        # Decoded even if the bytes are kept: whoever plays the bag must be able to decode them.
        pixels = decode_picture(data)
    except OSError as error:
        raise FrameError(f'({frame.path}) cannot be read: {error.strerror}') from error
    except PictureError as error:
        raise FrameError(f'({frame.path}) cannot be read: {error}') from error
    image_header = header(frame.stamp_ns, options.frame_id)
    if options.compressed:
        name = _FORMATS[frame.path.suffix.lower()]
        fields: dict[str, Any] = {'format': name, 'data': np.frombuffer(data, np.uint8)}
        return pixels, message(COMPRESSED_IMAGE, header=image_header, **fields)
    return pixels, message(IMAGE, header=image_header, **image_fields(pixels, 'bgr8'))


def camera_info(camera: Camera, size_wh: tuple[int, int], image_header: Any) -> Any:
    """Return the CameraInfo message of a frame of this size in pixels, with the image's header."""
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
