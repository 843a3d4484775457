"""Peak memory of the networks and of the segmenter, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from fcn_road_seg.bench import machine, variants
from fcn_road_seg.bench.options import Hw, size_text
from fcn_road_seg.bench.report import SEGMENTER
from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.utils.child_process import child_process


@dataclass(frozen=True)
class Subject:
    """A checkpoint's file, and where it runs: cpu or cuda:N, with `num_threads` (0: all cores)."""

    checkpoint_path: Path
    device: str
    num_threads: int


def measure_memory(
    subject: Subject, names: Sequence[str], input_hw: Hw, frame_hw: Hw
) -> dict[str, Any]:
    """Return the peak memory (MiB) of each network, and of the segmenter, at one size.

    Each loads and runs in a process of its own. On a CPU `peak_mib` is the process's largest
    resident set, `before_mib` that before the network was loaded; on a GPU `peak_mib` is what
    PyTorch reserves there, and `before_mib` 0. Both are None if the process ended early.
    """
    report: dict[str, Any] = {'size': size_text(input_hw)}
    for name in tqdm((*names, SEGMENTER), desc='memory', unit='network'):
        with child_process(_send_memory, subject, name, input_hw, frame_hw) as link:
            try:
                before_mib, peak_mib = link.recv()
            except EOFError:
                print(
                    f'bench: {name}: no memory figures, because the process that measures them '
                    'ended early',
                    file=sys.stderr,
                )
                before_mib = peak_mib = None
        report[name] = {'before_mib': before_mib, 'peak_mib': peak_mib}
    return report


def _send_memory(
    subject: Subject, name: str, input_hw: Hw, frame_hw: Hw, link: Connection
) -> None:
    link.send(_memory_mib(subject, name, input_hw, frame_hw))


def _memory_mib(
    subject: Subject, name: str, input_hw: Hw, frame_hw: Hw
) -> tuple[float | None, float | None]:
    before_mib = machine.peak_memory_mib()
    device = torch.device(subject.device)
    limit_cpu_threads(subject.num_threads)
    if name == SEGMENTER:
        frame = _noise(frame_hw)
        segmenter = RoadSegmenter(subject.checkpoint_path, subject.device)
        segmenter.input_rule = InputRule(fixed_hw=input_hw)
        # On a GPU, the second frame of a kind captures a CUDA graph, which has its own memory.
        for _ in range(2):
            segmenter(frame, confidence=False, overlay=True)
    else:
        checkpoint = load_checkpoint(subject.checkpoint_path)
        with torch.inference_mode():
            variants.make_variant(name, checkpoint, device)(_noise(input_hw))()
    if device.type == 'cuda':
        return 0.0, torch.cuda.max_memory_reserved(device) / 2**20
    return before_mib, machine.peak_memory_mib()


def _noise(hw: Hw) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
