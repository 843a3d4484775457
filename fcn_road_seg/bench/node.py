"""Figures of the live node, between a camera and a recorder, over ROS 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from fcn_road_seg.bench.machine import peak_memory_mib
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.diagnostics_listener import frames_between
from fcn_road_seg.live.session import LiveSession, live_session
from fcn_road_seg.utils.percentiles import nearest_rank

PERCENTILES = (50, 95, 99)


def measure_node(
    frames_bgr: np.ndarray, rate_hz: float, count: int, parameters: Sequence[str], out: Path
) -> dict[str, Any]:
    """Return the live node's figures for `count` frames without, then with the overlay.

    The camera repeats `frames_bgr`, (N, H, W, 3) uint8, at `rate_hz`. The node gets `parameters`,
    each NAME:=VALUE, and its logs go to the folder `out`.

    Raises:
        LiveError: the node or the camera did not start, or ended early.
    """
    messages = [CameraMessage.from_frame(frame_bgr) for frame_bgr in frames_bgr]
    offsets_s = [index / rate_hz for index in range(count)]
    report: dict[str, Any] = {'rate_hz': rate_hz, 'parameters': parameters}
    for name, topics in {'overlay_off': ('mask',), 'overlay_on': ('mask', 'overlay')}.items():
        with live_session(messages, parameters, out / f'{name}.log', topics) as session:
            report[name] = _measure(session, offsets_s)
    return report


def _measure(session: LiveSession, offsets_s: Sequence[float]) -> dict[str, Any]:
    process = psutil.Process(session.process.pid)
    before, cpu_before = session.next_status(), process.cpu_times()
    recording = session.stream(offsets_s)
    cpu_after, after = process.cpu_times(), session.next_status()
    cpu_s = cpu_after.user + cpu_after.system - cpu_before.user - cpu_before.system
    frame_counts = frames_between(before, after)
    received_ms = {topic: list(ms.values()) for topic, ms in recording.latency_ms.items()}
    return {
        'backend': after['backend'],
        'device': after['device'],
        'precision': after['precision'],
        'sent_hz': _mean_hz(recording.stamps_ns),
        'frames_sent': len(recording.stamps_ns),
        **frame_counts,
        **{f'{topic}s_received': len(values_ms) for topic, values_ms in received_ms.items()},
        **{f'{topic}_latency_ms': _percentiles(ms) for topic, ms in received_ms.items()},
        'inference_ms': _node_percentiles(after, 'inference'),
        'overhead_ms': _node_percentiles(after, 'overhead'),
        'cpu_ms_per_frame': round(1e3 * cpu_s / max(1, frame_counts['frames_segmented']), 1),
        'peak_memory_mib': peak_memory_mib(process.pid),
    }


def _mean_hz(stamps_ns: Sequence[int]) -> float | None:
    if len(stamps_ns) < 2:
        return None
    return round((len(stamps_ns) - 1) * 1e9 / (stamps_ns[-1] - stamps_ns[0]), 2)


def _percentiles(values_ms: Sequence[float]) -> dict[str, float | None]:
    found = {f'p{p}': nearest_rank(values_ms, p) for p in PERCENTILES}
    return {name: None if ms is None else round(ms, 2) for name, ms in found.items()}


def _node_percentiles(status: Mapping[str, str], of: str) -> dict[str, float | None]:
    """Return percentiles from the node's diagnostics, which cover its last ten seconds."""
    texts = {f'p{p}': status[f'{of} p{p} (ms)'] for p in PERCENTILES}
    return {name: None if text == 'n/a' else float(text) for name, text in texts.items()}
