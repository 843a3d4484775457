"""The bench: measure what is asked for, save the figures at once, and give them as text."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fcn_road_seg.bench import machine, variants
from fcn_road_seg.bench.ground import measure_ground
from fcn_road_seg.bench.memory import Subject, measure_memory
from fcn_road_seg.bench.networks import measure_networks
from fcn_road_seg.bench.options import REFERENCE, BenchError, BenchOptions, size_text
from fcn_road_seg.bench.report import (
    ground_lines,
    head_lines,
    memory_lines,
    network_lines,
    node_lines,
    write_chart,
)
from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from fcn_road_seg.utils.atomic_write import refuse_unwritable_folder, write_json

FORMAT_VERSION = 1
DRIVE_SEED = 2_000_000
# The number of frames that the live node's camera repeats.
CAMERA_FRAMES = 15


def run_bench(options: BenchOptions) -> Iterator[str]:
    """Measure; yield the lines of each table once its figures are saved.

    Writes bench.json, bench.png (if matplotlib is installed) and the node's logs to `options.out`.

    Raises:
        BenchError: a network does not run on this device, or there is no ROS 2 for the node.
        LiveError: the node or the camera did not start, or ended early.
        CheckpointError, SegmenterError, ValueError, OSError: as `load_checkpoint`, `RoadSegmenter`
            and `refuse_unwritable_folder`.
    """
    if options.node:
        # Check this now, not after minutes of timing networks.
        _require_ros()
    refuse_unwritable_folder(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    figures = options.out / 'bench.json'
    path = checkpoint_path(options.checkpoint)
    checkpoint = load_checkpoint(path)
    limit_cpu_threads(options.threads)
    segmenter = RoadSegmenter(checkpoint, options.device)
    device = torch.device(str(segmenter.device))
    drive = SyntheticDrive(DRIVE_SEED, options.frame_hw)
    frames_bgr = np.stack([drive.render(t_s=i / 10)[0] for i in range(CAMERA_FRAMES)])
    report: dict[str, Any] = {
        'format_version': FORMAT_VERSION,
        'began': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'machine': machine.describe_machine(device),
        'versions': machine.versions(),
        'checkpoint_sha256': checkpoint.sha256,
        'device': str(segmenter.device),
        'frame': size_text(options.frame_hw),
    }
    yield from head_lines(report)
    if options.rounds:
        names = _choose_networks(options, device, checkpoint)
        report |= measure_networks(
            checkpoint,
            segmenter,
            frames_bgr[0],
            options.sizes_hw,
            names,
            options.rounds,
            options.budget_s,
        )
        # Saved at once: what follows may fail, or be interrupted.
        write_json(report, figures)
        draw(report, options.out)
        yield from network_lines(report)
        report['ground'] = measure_ground(options.frame_hw)
        write_json(report, figures)
        yield from ground_lines(report)
        subject = Subject(path, str(segmenter.device), options.threads)
        largest_hw = max(options.sizes_hw, key=math.prod)
        report['memory'] = measure_memory(subject, names, largest_hw, options.frame_hw)
        write_json(report, figures)
        yield from memory_lines(report)
    if options.node:
        from fcn_road_seg.bench.node import measure_node

        parameters = [
            f'checkpoint:={path}',
            f'device:={segmenter.device}',
            f'num_threads:={options.threads}',
            *options.node.parameters,
        ]
        report['node'] = measure_node(
            frames_bgr, options.node.rate_hz, options.node.frames, parameters, options.out
        )
        if not options.rounds:
            # It shows the networks of an earlier run, which bench.json is about to lose.
            (options.out / 'bench.png').unlink(missing_ok=True)
        write_json(report, figures)
        yield from node_lines(report)
    yield f'figures are in {options.out}'


def draw(report: Mapping[str, Any], folder: Path) -> None:
    """Write `bench.png`, or say on stderr that matplotlib is not installed."""
    try:
        write_chart(report, folder / 'bench.png')
    except ImportError as error:
        print(f'bench: no chart ({error}); pip install matplotlib', file=sys.stderr)


def _choose_networks(
    options: BenchOptions, device: torch.device, checkpoint: Checkpoint
) -> list[str]:
    available = variants.available(device, checkpoint)
    for name in set(options.networks) - set(available):
        raise BenchError(
            f'{name} is not available on {device}; choose from {", ".join(available)}'
        )
    chosen = {REFERENCE, *(options.networks or available)}
    return [name for name in available if name in chosen]


def _require_ros() -> None:
    try:
        import fcn_road_seg.bench.node  # noqa: F401
    except ImportError as error:
        raise BenchError(
            f'--node needs ROS 2 ({error}); source an installation, or pip install the wheels '
            '(docs/node.md)'
        ) from error
