"""Pictures that tests write to disk."""

import cv2
import numpy as np


def write(path, pixels, quality=95):
    """Write (H, W), (H, W, 3) or (H, W, 4) pixels, and the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == '.jpg' else []
    assert cv2.imwrite(str(path), np.asarray(pixels, np.uint8), options)


def grey(value, hw=(4, 6)):
    """Return an (H, W) picture of one value."""
    return np.full(hw, value, np.uint8)
