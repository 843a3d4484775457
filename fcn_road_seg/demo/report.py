"""TODO: one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from fcn_road_seg.datasets.labels import ROAD
from fcn_road_seg.demo.frames import RATE_HZ
from fcn_road_seg.live.camera_process import DemoError, Shot
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.viz.contact_sheet import sheet
from fcn_road_seg.viz.video import written_video

MIN_IOU = 0.8
SHEET_ROWS = 8
SHEET_COLUMN_WIDTH = 480


def summarise(
    shots: Sequence[Shot],
    stamps_ns: Sequence[int],
    recording: Recording,
    became: Mapping[str, int],
) -> dict:
    """Return the figures of a run, as they go to `summary.json`.

    `became` is what the node says of the frames: not all without a mask were dropped by it.
    """
    pairs = [
        (shot.label, recording.masks[stamp])
        for shot, stamp in zip(shots, stamps_ns, strict=True)
        if stamp in recording.masks
        and shot.label is not None
        and shot.label.shape == recording.masks[stamp].shape
    ]
    latency_ms = list(recording.latency_ms.values())
    return {
        'frames_sent': len(stamps_ns),
        **became,
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
    shots: Sequence[Shot], stamps_ns: Sequence[int], recording: Recording, summary: dict
) -> None:
    """Raise DemoError if masks are missing, do not fit their frames, or are wrong.

    Frames may be dropped for newer ones, so what must come back is the last one's mask and
    overlay.
    """
    sent = dict(zip(stamps_ns, shots, strict=True))
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
    out: Path, shots: Sequence[Shot], stamps_ns: Sequence[int], recording: Recording
) -> None:
    """Write `contact_sheet.png` (frame, mask, overlay) and `overlay.mp4`."""
    shown = [
        (shot, recording.masks[stamp], recording.overlays_bgr[stamp])
        for shot, stamp in zip(shots, stamps_ns, strict=True)
        if stamp in recording.masks and stamp in recording.overlays_bgr
    ]
    if not shown:
        return
    chosen = np.linspace(0, len(shown) - 1, min(SHEET_ROWS, len(shown))).astype(int)
    pictures = [
        picture
        for shot, mask, overlay_bgr in (shown[i] for i in chosen)
        for picture in (shot.frame_bgr(), cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR), overlay_bgr)
    ]
    contact_sheet = sheet(pictures, columns=3, cell_width=SHEET_COLUMN_WIDTH)
    cv2.imwrite(str(out / 'contact_sheet.png'), contact_sheet)

    rate_hz = max(1.0, mean_rate_hz(shots) * len(shown) / len(shots))
    with written_video(out / 'overlay.mp4', rate_hz) as show:
        for _, _, overlay_bgr in shown:
            show(overlay_bgr)


def mean_rate_hz(shots: Sequence[Shot]) -> float:
    """Return how many of the shots go out in a second, on average."""
    duration_s = shots[-1].offset_s - shots[0].offset_s
    return (len(shots) - 1) / duration_s if duration_s > 0 else RATE_HZ
