"""Label Studio's run-length encoding of a mask's RGBA bytes: thi.ng's rle-pack (version 1).

The data are a sequence of bits. They begin with the number of bytes (32 bits), the word size of 8
minus 1 (5 bits), and four sizes minus 1 (4 bits each). Runs follow. Each has a flag (1 bit), the
index of a size (2 bits), and its length minus 1 (as many bits as that size says). If the flag is
1, one byte follows, which is repeated; if it is 0, all bytes of the run follow.
"""

from __future__ import annotations

import numpy as np

_SIZES = (3, 4, 8, 16)
_CHANNELS = 4
_MAX_RUN = 1 << _SIZES[-1]


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode an (H, W) uint8 mask, 0 or 255, which all four channels repeat."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = np.diff(starts, append=flat.size) * _CHANNELS
    bits = [f'{flat.size * _CHANNELS:032b}{7:05b}', *(f'{size - 1:04b}' for size in _SIZES)]
    for value, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        for begin in range(0, length, _MAX_RUN):
            run = min(_MAX_RUN, length - begin)
            index = next(i for i, size in enumerate(_SIZES) if run <= 1 << size)
            bits.append(f'1{index:02b}{run - 1:0{_SIZES[index]}b}{value:08b}')
    text = ''.join(bits)
    n_bytes = -(-len(text) // 8)
    return int(text.ljust(8 * n_bytes, '0'), 2).to_bytes(n_bytes, 'big')


def decode_mask(data: bytes, label_hw: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) uint8 mask: 255 where the fourth channel, opacity, is at least one half.

    Raises:
        ValueError: the data are cut off, of another size, or have a run beyond the last byte.
    """
    text = f'{int.from_bytes(data, "big"):0{8 * len(data)}b}'
    at = 0

    def read(n_bits: int) -> int:
        nonlocal at
        at += n_bits
        if at > len(text):
            raise ValueError('its run lengths are cut off')
        return int(text[at - n_bits : at], 2)

    n_bytes, _ = read(32), read(5)
    sizes = [read(4) + 1 for _ in range(4)]
    if n_bytes != label_hw[0] * label_hw[1] * _CHANNELS:
        raise ValueError(f'its run lengths have {n_bytes} bytes, not {label_hw} (H, W) times 4')
    out = np.empty(n_bytes, np.uint8)
    done = 0
    while done < n_bytes:
        is_run = read(1)
        end = done + read(sizes[read(2)]) + 1
        if end > n_bytes:
            raise ValueError(f'its run lengths have a run beyond their {n_bytes} bytes')
        out[done:end] = read(8) if is_run else [read(8) for _ in range(end - done)]
        done = end
    opacity = out.reshape(*label_hw, _CHANNELS)[..., 3]
    return np.where(opacity >= 128, np.uint8(255), np.uint8(0))
