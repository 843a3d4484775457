"""The demo's figures, pictures and checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import ROAD
from fcn_road_seg.demo.frames import RATE_HZ, DemoError
from fcn_road_seg.demo.ground import MAX_DISTANCE_M, grid_iou, write_ground_pictures
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.utils.percentiles import nearest_rank
from fcn_road_seg.utils.sampling import evenly_spaced
from fcn_road_seg.viz.contact_sheet import make_contact_sheet, write_png
from fcn_road_seg.viz.video import atomic_video_writer

MIN_IOU = 0.8
SHEET_ROWS = 8
SHEET_COLUMN_WIDTH = 480


def summarise(
    messages: Sequence[CameraMessage], recording: Recording, frame_counts: Mapping[str, int]
) -> dict[str, Any]:
    """Return the figures of a run, as they are written to `summary.json`.

    `frame_counts` is the node's own count: a frame without a mask here is not always one that the
    node dropped. Latencies are in ms, from the frame's stamp to the receipt of its mask; `iou` is
    over all pixels of all frames with a label, and `grid_iou` over the cells to MAX_DISTANCE_M of
    all grids whose road is known exactly; None if there are none.
    """
    masks = recording.pictures['mask']
    pairs = [
        (message.label, masks[stamp])
        for message, stamp in zip(messages, recording.stamps_ns, strict=True)
        if stamp in masks
        and message.label is not None
        and message.label.shape == masks[stamp].shape
    ]
    latency_ms = list(recording.latency_ms['mask'].values())
    percentiles_ms = {f'p{p}': nearest_rank(latency_ms, p) for p in (50, 95)}
    return {
        'frames_sent': len(recording.stamps_ns),
        **frame_counts,
        'masks_received': len(masks),
        'overlays_received': len(recording.pictures['overlay']),
        'latency_ms': {
            name: None if value is None else round(value, 1)
            for name, value in percentiles_ms.items()
        },
        'iou': _pooled_iou(pairs),
        'grids_received': len(recording.grids),
        'grid_iou': grid_iou(messages, recording),
    }


def figure_lines(messages: Sequence[CameraMessage], summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield the figures of `summarise` as text."""
    latency_ms = summary['latency_ms']
    yield (
        f'{summary["frames_sent"]} frames sent at {mean_rate_hz(messages):.3g} Hz, '
        f'{summary["frames_received"]} received by the node, '
        f'{summary["frames_segmented"]} segmented, '
        f'{summary["frames_dropped"]} dropped for a newer frame, '
        f'{summary["frames_refused"]} refused; '
        f'{summary["masks_received"]} masks received, '
        f'latency p50 {latency_ms["p50"]} ms, p95 {latency_ms["p95"]} ms'
    )
    if summary['iou'] is not None:
        yield f'IoU of the masks with the exact labels: {summary["iou"]:.3f}'
    if summary['grid_iou'] is not None:
        yield (
            f'IoU of the grids with the exact road, to {MAX_DISTANCE_M:g} m: '
            f'{summary["grid_iou"]:.3f}'
        )


def check(
    messages: Sequence[CameraMessage], recording: Recording, summary: Mapping[str, Any]
) -> None:
    """Check that the masks and overlays fit their frames, and the masks their labels.

    Frames may be dropped for newer ones, so only the last frame must have come back.

    Raises:
        DemoError: the last frame's mask, overlay or, with a calibrated camera, grid is missing,
            one fits no frame, or the masks' IoU with the labels is below MIN_IOU.
    """
    stamps_ns = recording.stamps_ns
    sent = dict(zip(stamps_ns, messages, strict=True))
    for name, pictures in recording.pictures.items():
        if stamps_ns[-1] not in pictures:
            raise DemoError(f'no {name} arrived for the last of {len(stamps_ns)} frames')
        for stamp, picture in pictures.items():
            if stamp not in sent or sent[stamp].frame_bgr().shape != (*picture.shape[:2], 3):
                raise DemoError(
                    f'the {name} of size {picture.shape[:2]} with the timestamp {stamp} ns '
                    'matches no frame'
                )
    if messages[-1].camera_info is not None and stamps_ns[-1] not in recording.grids:
        raise DemoError(f'no grid arrived for the last of {len(stamps_ns)} frames')
    if summary['iou'] is not None and summary['iou'] < MIN_IOU:
        raise DemoError(
            f'the IoU of the masks with the exact labels is only {summary["iou"]}; '
            f'at least {MIN_IOU} is expected'
        )


def write_pictures(out: Path, messages: Sequence[CameraMessage], recording: Recording) -> None:
    """Write `contact_sheet.png` (frame, mask, overlay) and `overlay.mp4` to the folder `out`.

    If there are grids, `grid.png` and `grid.mp4` are written, too. Writes nothing if no frame came
    back.

    Raises:
        VideoError: the video cannot be written.
    """
    masks, overlays_bgr = recording.pictures['mask'], recording.pictures['overlay']
    shown = [
        (message, masks[stamp], overlays_bgr[stamp])
        for message, stamp in zip(messages, recording.stamps_ns, strict=True)
        if stamp in masks and stamp in overlays_bgr
    ]
    if not shown:
        return
    pictures = [
        picture
        for message, mask, overlay_bgr in evenly_spaced(shown, SHEET_ROWS)
        for picture in (message.frame_bgr(), cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), overlay_bgr)
    ]
    contact_sheet = make_contact_sheet(pictures, columns=3, cell_width=SHEET_COLUMN_WIDTH)
    write_png(contact_sheet, out / 'contact_sheet.png')

    rate_hz = max(1.0, mean_rate_hz(messages) * len(shown) / len(messages))
    with atomic_video_writer(out / 'overlay.mp4', rate_hz) as add:
        for _, _, overlay_bgr in shown:
            add(overlay_bgr)
    write_ground_pictures(out, messages, recording, rate_hz)


def mean_rate_hz(messages: Sequence[CameraMessage]) -> float:
    """Return the mean rate (Hz) at which `messages` are due."""
    duration_s = messages[-1].offset_s - messages[0].offset_s
    return (len(messages) - 1) / duration_s if duration_s > 0 else RATE_HZ


def _pooled_iou(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    if not pairs:
        return None
    common = sum(np.count_nonzero((label == ROAD) & (mask > 0)) for label, mask in pairs)
    either = sum(np.count_nonzero((label == ROAD) | (mask > 0)) for label, mask in pairs)
    return round(common / max(1, either), 4)
