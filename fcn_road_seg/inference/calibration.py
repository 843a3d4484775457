"""Measures what precisions below float32 need (activation ranges), and what they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from fcn_road_seg.inference.options import SegmenterError
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.utils.cpu_features import has_bfloat16
from fcn_road_seg.utils.sampling import evenly_spaced

# Number of frames for a 16-bit precision that PyTorch emulates, at about ten seconds per frame.
SLOW_COUNT = 8


def calibrate(
    checkpoint: Checkpoint, frames_rgb: Sequence[np.ndarray], say: Callable[[str], object]
) -> Checkpoint:
    """Return the checkpoint with the activation ranges that int8 needs, and with agreements.

    `frames_rgb` are (H, W, 3) uint8. The agreements are those of the masks at the checkpoint's
    threshold and input rule; a 16-bit precision that PyTorch computes on a CPU is measured on
    SLOW_COUNT frames. `say` gets a line for each precision: how far it agrees, or why it cannot be
    measured on this machine and is not recorded.

    Raises:
        ValueError: there are no frames.
    """
    peaks = measure_activation_ranges(checkpoint, frames_rgb)
    checkpoint = replace(checkpoint, activation_peaks=peaks)
    agreements = {}
    expected = _masks(RoadSegmenter(checkpoint, 'cpu', 'float32'), frames_rgb)
    compared = list(zip(frames_rgb, expected, strict=True))
    for precision, build in _segmenters(checkpoint).items():
        try:
            segmenter = build()
            is_slow = segmenter.device.type == 'cpu' and segmenter.backend.name == 'torch'
            chosen = evenly_spaced(compared, SLOW_COUNT) if is_slow else compared
            agreement = _compare(
                _masks(segmenter, [frame_rgb for frame_rgb, _ in chosen]),
                [mask for _, mask in chosen],
            )
        # RuntimeError: the library fails on this machine. That must not lose a trained network.
        except (SegmenterError, RuntimeError) as error:
            say(f'{precision} is not measured: {" ".join(str(error).split())}')
            continue
        say(f'{precision} by {segmenter.backend} on {segmenter.device_name}: {agreement}')
        agreements[precision] = agreement
    return replace(checkpoint, agreements=agreements)


def _segmenters(checkpoint: Checkpoint) -> dict[str, Callable[[], RoadSegmenter]]:
    # Without hardware support, PyTorch computes in 16 bits with the same rounding, in about 20
    # times the time, while OpenVINO would refuse bfloat16.
    gpu = 'cuda' if torch.cuda.is_available() else 'cpu'
    of_bfloat16 = 'openvino' if has_bfloat16() else 'torch'
    return {
        'int8': lambda: RoadSegmenter(checkpoint, 'cpu', 'int8'),
        'int8_avx2': lambda: RoadSegmenter(checkpoint, 'cpu', 'int8_avx2'),
        'bfloat16': lambda: RoadSegmenter(checkpoint, 'cpu', 'bfloat16', backend=of_bfloat16),
        'float16': lambda: RoadSegmenter(checkpoint, gpu, 'float16', backend='torch'),
    }


def _masks(segmenter: RoadSegmenter, frames_rgb: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [
        segmenter(frame_rgb, channel_order='rgb', confidence=False).mask > 0
        for frame_rgb in frames_rgb
    ]


def _compare(masks: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> Agreement:
    pairs = list(zip(masks, expected, strict=True))
    common = sum(np.count_nonzero(a & b) for a, b in pairs)
    either = sum(np.count_nonzero(a | b) for a, b in pairs)
    pixels = sum(b.size for _, b in pairs)
    # If no mask has any road, they agree.
    return Agreement(common / either if either else 1.0, (either - common) / pixels)
