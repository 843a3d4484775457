"""TODO: one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import ROAD
from fcn_road_seg.demo.frames import RATE_HZ
from fcn_road_seg.live.camera_process import CameraMessage, DemoError
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.viz.contact_sheet import make_contact_sheet
from fcn_road_seg.viz.video import atomic_video_writer

MIN_IOU = 0.8
SHEET_ROWS = 8
SHEET_COLUMN_WIDTH = 480


def summarise(
    messages: Sequence[CameraMessage],
    stamps_ns: Sequence[int],
    recording: Recording,
    frame_counts: Mapping[str, int],
) -> dict:
    """Return the figures of a run, as they go to `summary.json`.

    `became` is what the node says of the frames: not all without a mask were dropped by it.
    """
    pairs = [
        (message.label, recording.masks[stamp])
        for message, stamp in zip(messages, stamps_ns, strict=True)
        if stamp in recording.masks
        and message.label is not None
        and message.label.shape == recording.masks[stamp].shape
    ]
    latency_ms = list(recording.latency_ms.values())
    return {
        'frames_sent': len(stamps_ns),
        **frame_counts,
        'masks_received': len(recording.masks),
        'overlays_received': len(recording.overlays_bgr),
        'latency_ms': {
            f'p{q}': round(float(np.percentile(latency_ms, q)), 1) if latency_ms else None
            for q in (50, 95)
        },
        'iou': _pooled_iou(pairs),
    }


def _pooled_iou(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    if not pairs:
        return None
    common = sum(np.count_nonzero((label == ROAD) & (mask > 0)) for label, mask in pairs)
    either = sum(np.count_nonzero((label == ROAD) | (mask > 0)) for label, mask in pairs)
    return round(common / max(1, either), 4)


def check(
    messages: Sequence[CameraMessage],
    stamps_ns: Sequence[int],
    recording: Recording,
    summary: dict,
) -> None:
    """Raise DemoError if masks are missing, do not fit their frames, or are wrong.

    Frames may be dropped for newer ones, so what must come back is the last one's mask and
    overlay.
    """
    sent = dict(zip(stamps_ns, messages, strict=True))
    for name, pictures in (('mask', recording.masks), ('overlay', recording.overlays_bgr)):
        if stamps_ns[-1] not in pictures:
            raise DemoError(f'the last of {len(stamps_ns)} frames came back without its {name}')
        for stamp, picture in pictures.items():
            if stamp not in sent or sent[stamp].frame_bgr().shape != (*picture.shape[:2], 3):
                text = f'of size {picture.shape[:2]} with the stamp {stamp} ns'
                raise DemoError(f'the {name} {text} fits no frame')
    if summary['iou'] is not None and summary['iou'] < MIN_IOU:
        raise DemoError(f'the masks agree with the exact labels only to IoU {summary["iou"]}')


def write_pictures(
    out: Path, messages: Sequence[CameraMessage], stamps_ns: Sequence[int], recording: Recording
) -> None:
    """Write `contact_sheet.png` (frame, mask, overlay) and `overlay.mp4`."""
    shown = [
        (message, recording.masks[stamp], recording.overlays_bgr[stamp])
        for message, stamp in zip(messages, stamps_ns, strict=True)
        if stamp in recording.masks and stamp in recording.overlays_bgr
    ]
    if not shown:
        return
    chosen = np.linspace(0, len(shown) - 1, min(SHEET_ROWS, len(shown))).astype(int)
    pictures = [
        picture
        for message, mask, overlay_bgr in (shown[i] for i in chosen)
        for picture in (message.frame_bgr(), cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), overlay_bgr)
    ]
    contact_sheet = make_contact_sheet(pictures, columns=3, cell_width=SHEET_COLUMN_WIDTH)
    cv2.imwrite(str(out / 'contact_sheet.png'), contact_sheet)

    rate_hz = max(1.0, mean_rate_hz(messages) * len(shown) / len(messages))
    with atomic_video_writer(out / 'overlay.mp4', rate_hz) as show:
        for _, _, overlay_bgr in shown:
            show(overlay_bgr)


def mean_rate_hz(messages: Sequence[CameraMessage]) -> float:
    """Return how many of the shots go out in a second, on average."""
    duration_s = messages[-1].offset_s - messages[0].offset_s
    return (len(messages) - 1) / duration_s if duration_s > 0 else RATE_HZ
