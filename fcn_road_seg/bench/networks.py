"""Times of the networks, and of the segmenter around one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fcn_road_seg.bench import machine, variants
from fcn_road_seg.bench.options import CLASSIC, REFERENCE, Hw, size_text
from fcn_road_seg.bench.timing import Spread, interleave
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig

Key = tuple[str, str]
Sample = Callable[[], Mapping[Key, float]]

# Unless OMP_WAIT_POLICY is passive, OpenMP's threads spin for some 5 ms while they wait for more
# work: PyTorch's or ncnn's would take a core from OpenVINO's own threads (int8 at
# 256 x 256 then takes a fifth longer).
PAUSE_S = 0.02


def measure_networks(
    checkpoint: Checkpoint,
    segmenter: RoadSegmenter,
    frame_bgr: np.ndarray,
    sizes_hw: Sequence[Hw],
    names: Sequence[str],
    rounds: int,
    budget_s: float,
) -> dict[str, Any]:
    """Return the figures of the networks `names` (of `LABELS`) and of the segmenter.

    They get `frame_bgr`, (H, W, 3) uint8, at each of `sizes_hw`. All of them run in each of at
    most `rounds` rounds, which take about `budget_s` in all.
    """
    device = torch.device(str(segmenter.device))
    networks = {name: variants.make_variant(name, checkpoint, device) for name in names}
    dtypes = ['float32', *(name for name in ('float16', 'bfloat16') if name in names)]
    samples: list[Sample] = [_peaks(device, dtypes)]
    changed: dict[Key, float] = {}
    for hw in sizes_hw:
        frame_rgb = cv2.cvtColor(cv2.resize(frame_bgr, hw[::-1]), cv2.COLOR_BGR2RGB)
        runs = {name: network(frame_rgb) for name, network in networks.items()}
        with torch.inference_mode():
            expected = runs[REFERENCE]() > 0
            for name in set(names) - {CLASSIC}:
                differs = (runs[name]() > 0) != expected
                changed[size_text(hw), name] = float(differs.float().mean())
        samples += [_network_sample(size_text(hw), name, run) for name, run in runs.items()]
        for overlay in (False, True):
            sample = _segmenter_sample(segmenter, hw, frame_bgr, overlay=overlay)
            # On a GPU, the second frame of a kind captures its CUDA graph: after this first frame,
            # that happens in the warm-up round.
            sample()
            samples.append(sample)
    others = machine.OtherProcesses()
    with torch.inference_mode():
        taken = interleave(
            samples, rounds, budget_s, pause_s=PAUSE_S if device.type == 'cpu' else 0.0
        )
    share = round(others.share(), 3)
    peaks = {name: max(taken['peak', name]) for name in (*dtypes, 'copy')}
    return {
        'backend': str(segmenter.backend),
        'precision': segmenter.precision,
        'threads': torch.get_num_threads(),
        'rounds': len(taken['peak', 'copy']),
        'other_processes_share': share,
        'peaks': {
            **{f'{name}_gflop_per_s': round(peaks[name] / 1e9, 1) for name in dtypes},
            'copy_gb_per_s': round(peaks['copy'] / 1e9, 2),
        },
        'sizes': {
            size_text(hw): _size_report(hw, names, checkpoint, taken, peaks, changed)
            for hw in sizes_hw
        },
    }


def _peaks(device: torch.device, dtypes: Sequence[str]) -> Sample:
    rates = {name: machine.measure_gemm(device, getattr(torch, name)) for name in dtypes}
    rates['copy'] = machine.measure_copy(device)
    return lambda: {('peak', name): rate() for name, rate in rates.items()}


def _network_sample(size: str, name: str, run: Callable[[], object]) -> Sample:
    def sample() -> dict[Key, float]:
        began_s = time.perf_counter()
        run()
        return {(size, name): time.perf_counter() - began_s}

    return sample


def _segmenter_sample(
    segmenter: RoadSegmenter, hw: Hw, frame_bgr: np.ndarray, *, overlay: bool
) -> Sample:
    rule, of = InputRule(fixed_hw=hw), 'overlay' if overlay else 'mask'

    def sample() -> dict[Key, float]:
        segmenter.input_rule = rule
        began_s = time.perf_counter()
        found = segmenter(frame_bgr, confidence=False, overlay=overlay)
        whole_s = time.perf_counter() - began_s
        times_s = {(size_text(hw), f'frame_to_{of}'): whole_s}
        if found.network_s is not None:
            times_s[size_text(hw), f'around_{of}'] = whole_s - found.network_s
        return times_s

    return sample


def _size_report(
    hw: Hw,
    names: Sequence[str],
    checkpoint: Checkpoint,
    taken: Mapping[Key, Sequence[float]],
    peaks: Mapping[str, float],
    changed: Mapping[Key, float],
) -> dict[str, Any]:
    size, config = size_text(hw), checkpoint.model.config
    gflop = variants.gflop(REFERENCE, config, hw)
    reference_s = np.asarray(taken[size, REFERENCE])
    networks = {}
    for name in names:
        times_s = taken[size, name]
        networks[name] = {
            'time_ms': Spread.of(times_s, 1e3).as_dict(3),
            # Ratios within each round: most disturbances of one time also affect the other.
            'speed': Spread.of(list(reference_s / times_s)).as_dict(3),
            'gflop': round(variants.gflop(name, config, hw), 2),
            # None for the classic network, whose weights are random.
            'mask_pixels_changed': changed.get((size, name)),
        }
    whole = ('frame_to_mask', 'around_mask', 'frame_to_overlay', 'around_overlay')
    return {
        'gflop': round(gflop, 2),
        'floor_ms': {
            name: round(_floor_ms(gflop * 1e9, _least_bytes(hw, config, name), name, peaks), 4)
            for name in peaks
            if name != 'copy'
        },
        'networks': networks,
        **{
            f'{key}_ms': Spread.of(taken[size, key], 1e3).as_dict(3)
            for key in whole
            if (size, key) in taken
        },
    }


def _least_bytes(hw: Hw, config: RoadFCNConfig, dtype: str) -> int:
    """Return the bytes that must be moved in any case: weights, uint8 frame, float32 logits."""
    weights = variants.parameter_count(config) * getattr(torch, dtype).itemsize
    return weights + hw[0] * hw[1] * (3 + 4)


def _floor_ms(flop: float, least_bytes: int, dtype: str, peaks: Mapping[str, float]) -> float:
    return 1e3 * max(flop / peaks[dtype], least_bytes / peaks['copy'])
