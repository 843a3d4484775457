"""The options of the bench; nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Hw = tuple[int, int]

# Speedups are relative to this variant.
REFERENCE = 'eager'
CLASSIC = 'classic'
# The variants (bench/variants.py) by name, as the tables call them.
LABELS = {
    CLASSIC: 'classic FCN-8s, PyTorch eager',
    REFERENCE: 'PyTorch eager',
    'folded': 'PyTorch folded, channels_last',
    'ncnn': 'ncnn',
    'bfloat16': 'PyTorch bfloat16',
    'float16': 'PyTorch float16',
    'openvino_bfloat16': 'OpenVINO bfloat16',
    'openvino_int8': 'OpenVINO int8',
    'openvino_int8_avx2': 'OpenVINO int8_avx2',
}


class BenchError(RuntimeError):
    """What was asked for cannot be measured here; the text is one line."""


@dataclass(frozen=True)
class NodeOptions:
    """The live node's camera, and the node's own parameters, each NAME:=VALUE."""

    rate_hz: float
    frames: int
    parameters: Sequence[str]


@dataclass(frozen=True)
class BenchOptions:
    """What to measure, on which device; sizes are (H, W) of the network's input and the frames.

    `checkpoint` is a file or the name of a shipped one (`checkpoint_path`). `threads` 0 means all
    cores. Empty `networks` means all that run here, `rounds` 0 skips them, and `node` None skips
    the node.
    """

    out: Path
    checkpoint: str
    device: str
    threads: int
    sizes_hw: Sequence[Hw]
    frame_hw: Hw
    networks: Sequence[str]
    rounds: int
    budget_s: float
    node: NodeOptions | None


def size_text(hw: Hw) -> str:
    """Return (height, width) as on the command line: 192x640."""
    return f'{hw[0]}x{hw[1]}'
