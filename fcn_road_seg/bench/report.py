"""The figures of the bench as lines of text and as a chart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fcn_road_seg.bench.machine import QUIET_SHARE
from fcn_road_seg.bench.options import CLASSIC, LABELS, REFERENCE

SEGMENTER = 'segmenter'
SEGMENTER_TEXT = 'RoadSegmenter, mask and overlay'


def head_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the machine, the versions and the checkpoint."""
    machine, versions = report['machine'], report['versions']
    flags = ' '.join(machine['cpu_flags']) or 'CPU flags unknown'
    yield f'{machine["cpu"]}, {machine["cores"]} cores ({flags}), {machine["memory_gib"]:g} GiB'
    yield f'device {report["device"]}' + (f' ({machine["gpu"]})' if machine['gpu'] else '')
    yield f'{machine["system"]}, load average {machine["load_average_1min"]:g}'
    yield ', '.join(f'{name} {text}' for name, text in versions.items() if text)
    yield f'checkpoint {report["checkpoint_sha256"][:12]}, camera frames {report["frame"]}'


def network_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the times of the networks and the segmenter, beside the floor.

    The floor is the time of direct convolution with every multiply-add at the measured peak rate;
    Winograd convolution (ncnn) can be faster.
    """
    yield ''
    peaks = report['peaks']
    rates = [f'{v:g} GFLOP/s in {k.partition("_")[0]}' for k, v in peaks.items() if 'flop' in k]
    yield f'measured peaks: {", ".join(rates)}, copy {peaks["copy_gb_per_s"]:g} GB/s'
    share = report['other_processes_share']
    yield (
        f'{report["rounds"]} rounds, {report["threads"]} threads; '
        f'other processes took {100 * share:.0f} % of the CPU time'
    )
    yield f"ms: median of the rounds; speedup: median of the rounds' ratios to {REFERENCE}"
    if share > QUIET_SHARE:
        yield 'WARNING: the machine was not idle: times are too long, and peaks too low'
    for size, figures in report['sizes'].items():
        yield ''
        title = f'{size}, {figures["gflop"]:.1f} GFLOP'
        yield f'{title:38}{"ms":>9}{"quartiles":>20}{"fastest":>10}{"speedup":>14}'
        for name, network in figures['networks'].items():
            speed = f'{network["speed"]["median"]:.2f}'
            yield f'  {LABELS[name]:36}{_spread(network["time_ms"])}{speed:>14}'
        for dtype, floor_ms in figures['floor_ms'].items():
            yield f'  {_floor_label(dtype):36}{digits(floor_ms):>9}'
        for of in ('mask', 'overlay'):
            text = f'{report["frame"]} frame to {of}, {report["precision"]}'
            yield f'  {text:36}{_spread(figures[f"frame_to_{of}_ms"])}'
            if f'around_{of}_ms' in figures:
                text = '  of which around the network'
                yield f'  {text:36}{_spread(figures[f"around_{of}_ms"])}'


def ground_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the times of the road from above, at the default grid."""
    texts = {
        'table': 'table of pixels, once',
        'grid': 'grid of a frame',
        'corridor': 'corridor of a grid',
    }
    yield ''
    yield f'{"road from above, " + report["frame"]:38}{"ms":>9}{"quartiles":>20}{"fastest":>10}'
    for name, times_ms in report['ground'].items():
        yield f'  {texts[name]:36}{_spread(times_ms)}'


def memory_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the peak memory of each network and of the segmenter."""
    yield ''
    memory = report['memory']
    yield f'{"peak memory, " + memory["size"]:38}{"MiB":>9}{"before loading":>24}'
    for name, figures in memory.items():
        if name != 'size' and figures['peak_mib'] is not None:
            text = LABELS.get(name, SEGMENTER_TEXT)
            yield f'  {text:36}{figures["peak_mib"]:9.0f}{figures["before_mib"]:24.0f}'


def node_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the frame counts, latencies and resources of the live node."""
    for name in ('overlay_off', 'overlay_on'):
        node = report['node'][name]
        # A single frame has no rate.
        rate = f' at {node["sent_hz"]} Hz' if node['sent_hz'] else ''
        yield ''
        yield (
            f'node on {node["device"]}, {report["frame"]} frames{rate}, '
            f'{name.replace("_", " ")}: {node["frames_sent"]} sent, '
            f'{node["frames_received"]} received, {node["frames_segmented"]} segmented, '
            f'{node["frames_dropped"]} dropped, {node["frames_refused"]} refused, '
            f'{node["masks_received"]} masks received'
        )
        yield f'{"":38}{"p50":>9}{"p95":>9}{"p99":>9}  ms'
        rows = {
            'stamp to receipt of mask': 'mask_latency_ms',
            'stamp to receipt of overlay': 'overlay_latency_ms',
            'inference (last 10 s)': 'inference_ms',
            'overhead (last 10 s)': 'overhead_ms',
        }
        for text, key in rows.items():
            if key in node:
                values = ''.join(
                    f'{"n/a" if value is None else digits(value):>9}'
                    for value in node[key].values()
                )
                yield f'  {text:36}{values}'
        yield (
            f'  {node["cpu_ms_per_frame"]:g} ms of CPU time per frame, '
            f'peak memory {node["peak_memory_mib"]:.0f} MiB'
        )


def write_chart(report: Mapping[str, Any], path: Path) -> None:
    """Draw the networks' times to a PNG file.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from fcn_road_seg.viz.plots import TimeBar, TimePanel, plot_times

    panels = []
    for size, figures in report['sizes'].items():
        bars = [
            TimeBar(
                LABELS[name],
                tuple(network['time_ms'][q] for q in ('q1', 'median', 'q3')),
                f'{digits(network["time_ms"]["median"])} ms, {network["speed"]["median"]:.2f}x',
                name in (CLASSIC, REFERENCE),
            )
            for name, network in figures['networks'].items()
        ]
        lines_ms = {_floor_label(dtype): ms for dtype, ms in figures['floor_ms'].items()}
        title = f'{size}, {figures["gflop"]:.1f} GFLOP'
        panels.append(
            TimePanel(title, bars, lines_ms, f'ms, and speedup over {LABELS[REFERENCE]}')
        )
    plot_times(panels, path)


def _floor_label(dtype: str) -> str:
    return f'direct-convolution floor, {dtype}'


def _spread(times_ms: Mapping[str, float]) -> str:
    least, q1, median, q3 = (digits(times_ms[of]) for of in ('least', 'q1', 'median', 'q3'))
    return f'{median:>9}{f"{q1} .. {q3}":>20}{least:>10}'


def digits(ms: float) -> str:
    """Return three digits, or all before the decimal point: 1308, 12.7, 0.052."""
    return f'{ms:.{3 if ms < 1 else 2 if ms < 10 else 1 if ms < 100 else 0}f}'
