"""An easy road segmentation task, and the arguments of a training that learns it quickly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

# With a quarter of the channels, a step and a checkpoint take a tenth of the time.
TINY = [
    *('--encoder=vgg16_bn', '--weights=none', '--pixels=6144', '--batch=4'),
    *('--accelerator=cpu', '--devices=1', '--width=0.25', '--workers=0', '--precision=32-true'),
]


def write_easy_data(root: Path, frame_hw: tuple[int, int] = (64, 96)) -> Path:
    """Write frames with a grey rectangle of road below a green background; return `root`."""
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        mask = np.zeros(frame_hw, np.uint8)
        mask[rng.integers(20, 44) :, rng.integers(0, 30) : rng.integers(60, 96)] = 255
        frame_bgr = np.where(mask[..., None] > 0, [120, 120, 120], [40, 160, 60])
        noisy = frame_bgr + rng.normal(0, 10, frame_bgr.shape)
        cv2.imwrite(str(root / f'images/{i}.png'), noisy.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / f'masks/{i}.png'), mask)
    return root
