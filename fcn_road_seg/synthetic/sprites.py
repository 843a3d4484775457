"""Pictures of the flat things: trees, buildings, signs, pedestrians and barriers.

A picture is (h, w, 4) uint8 BGRA; its last row is on the ground.
"""

import cv2
import numpy as np
from numpy.random import Generator

from fcn_road_seg.synthetic.texture import fractal, shrink


def draw_sprites(rng: Generator) -> dict[str, list[list[np.ndarray]]]:
    """Return the pictures by kind of thing: a list of variants, each with reduced copies."""
    bare = rng.random() < 0.2
    images = {
        'tree': [_tree(rng, bare) for _ in range(4)],
        'building': [_facade(rng) for _ in range(4)],
        'sign': [_sign(rng) for _ in range(4)],
        'pedestrian': [_pedestrian(rng) for _ in range(4)],
        'hedge': [_wall(rng, (96, 256), (40, 75, 55), 0.35)],
        'wall': [_wall(rng, (96, 256), (110, 125, 140), 0.12)],
        'rail': [_bars([(5, 12, 185), (17, 12, 125), (28, 12, 180), (39, 12, 120)], 128, 5, 105)],
        'fence': [_bars([(8, 5, 70), (82, 5, 70)], 16, 3, 72)],
    }
    return {
        kind: [[shrink(image, level, level) for level in range(5)] for image in variants]
        for kind, variants in images.items()
    }


def _tree(rng: Generator, bare: bool) -> np.ndarray:
    rows, columns = 256, 192
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / rows
    x -= 0.375
    noise = fractal(rng, (rows, columns), (6, 12, 24, 48, 96))
    conifer = rng.random() < 0.25
    if conifer:
        shape = 0.9 - np.abs(x) / (0.03 + 0.3 * y) - 0.5 * (y > 0.88)
    else:
        shape = 1 - np.hypot(x / 0.33, (y - 0.37) / 0.36) ** 2
    crown = shape + 0.45 * noise > (0.6 if bare else 0.15)
    trunk = (np.abs(x) < 0.02 + 0.02 * y) & (y > 0.4)
    light = 0.75 + 0.35 * noise - 0.7 * (y - 0.4) - 0.5 * x
    green = np.array([35.0, 85, 65]) + rng.uniform(-15, 15, 3)
    bgr = np.where(crown[..., None], green * light[..., None], (45, 55, 65))
    return np.dstack([bgr, (crown | trunk) * 255.0]).clip(0, 255).astype(np.uint8)


def _facade(rng: Generator) -> np.ndarray:
    walls = [(150, 165, 175), (85, 105, 150), (190, 200, 205), (120, 125, 130), (130, 170, 195)]
    rows, columns = 320, 384
    image = _wall(rng, (rows, columns), walls[rng.integers(5)], 0.04)
    floors, bays, roof = int(rng.integers(2, 6)), int(rng.integers(3, 8)), int(rng.integers(0, 50))
    image[:roof, :, :3] = image[:roof, :, :3] * (0.5, 0.45, 0.6)
    step = np.array([columns / bays, (rows - roof) / floors])
    frame = (235, 235, 235, 255) if rng.random() < 0.6 else (60, 60, 60, 255)
    half_window = step * rng.uniform(0.2, (0.4, 0.35))
    half_door = np.array([half_window[0], step[1] * 0.44])
    for floor, bay in np.ndindex(floors, bays):
        door = floor == floors - 1 and rng.random() < 0.4
        centre = np.array([0, roof]) + step * (bay + 0.5, floor + (0.55 if door else 0.45))
        half = half_door if door else half_window
        x0, y0 = (centre - half).astype(int).tolist()
        x1, y1 = (centre + half).astype(int).tolist()
        glass = int(rng.integers(30, 110))
        cv2.rectangle(image, (x0 - 3, y0 - 3), (x1 + 3, y1 + 3), frame, -1)
        cv2.rectangle(image, (x0, y0), (x1, y1), (glass + 15, glass, glass - 8, 255), -1)
        cv2.line(image, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), frame, 2)
    return image


def _sign(rng: Generator) -> np.ndarray:
    image = np.zeros((256, 64, 4), np.uint8)
    cv2.rectangle(image, (30, 30), (34, 255), (130, 130, 130, 255), -1)
    red, white = (40, 40, 200, 255), (240, 240, 240, 255)
    kind = rng.integers(4)
    if kind == 0:
        cv2.circle(image, (32, 32), 30, red, -1)
        cv2.circle(image, (32, 32), 22, white, -1)
    elif kind == 1:
        cv2.fillPoly(image, [np.array([[32, 4], [62, 56], [2, 56]])], red)
        cv2.fillPoly(image, [np.array([[32, 18], [51, 50], [13, 50]])], white)
    else:
        colour = (170, 90, 30, 255) if kind == 2 else (60, 190, 230, 255)
        cv2.rectangle(image, (4, 8), (60, 54), colour, -1)
    return image


def _pedestrian(rng: Generator) -> np.ndarray:
    image = np.zeros((192, 80, 4), np.uint8)
    coat = (*rng.integers(20, 170, 3).tolist(), 255)
    legs = (*rng.integers(20, 90, 3).tolist(), 255)
    stride = int(rng.integers(2, 16))
    for side in (-1, 1):
        cv2.line(image, (40 + 4 * side, 100), (40 + side * stride, 186), legs, 13)
        cv2.line(image, (40 + 14 * side, 50), (40 + side * (14 + stride // 2), 105), coat, 9)
    cv2.ellipse(image, (40, 75), (19, 42), 0, 0, 360, coat, -1)
    cv2.ellipse(image, (40, 18), (11, 15), 0, 0, 360, (130, 160, 200, 255), -1)
    cv2.ellipse(image, (40, 11), (12, 10), 0, 0, 360, (25, 35, 50, 255), -1)
    return image


def _bars(rails: list[tuple[int, int, int]], gap: int, width: int, grey: int) -> np.ndarray:
    """Return rails (first row, height, grey) in front of posts, `width` wide and `gap` apart."""
    image = np.zeros((96, 256, 4), np.uint8)
    for x in range(gap // 2, 256, gap):
        image[4:, x : x + width] = (grey, grey, grey, 255)
    for y, height, tone in rails:
        image[y : y + height] = (tone, tone, tone, 255)
    return image


def _wall(
    rng: Generator, size: tuple[int, int], colour: tuple[int, int, int], contrast: float
) -> np.ndarray:
    tone = 1 + contrast * fractal(rng, size, (8, 32, 96))[..., None]
    return np.dstack([np.array(colour) * tone, np.full(size, 255)]).clip(0, 255).astype(np.uint8)
