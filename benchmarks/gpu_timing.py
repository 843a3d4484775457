"""Times of the CUDA pipeline: whole frames, stages, kernels; and the peaks of the GPU."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from fcn_road_seg.inference.cuda_pipeline import CudaPipeline
from fcn_road_seg.inference.interfaces import SegmentationRequest


def quantiles_ms(seconds: list[float]) -> dict[str, float]:
    return {f'p{q}': float(np.percentile(seconds, q)) * 1e3 for q in (50, 95, 99)}


def measure_host_to_host(
    pipeline: CudaPipeline, frames: list[np.ndarray], request: SegmentationRequest, iterations: int
) -> dict[str, Any]:
    """Time frames from host memory to results in host memory; count what is allocated."""
    began_s = time.perf_counter()
    pipeline.run(frames[0], request)
    first_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    pipeline.run(frames[0], request)
    second_s = time.perf_counter() - began_s
    for frame in frames:
        pipeline.run(frame, request)
    before = count_allocations()
    seconds = []
    for i in range(iterations):
        frame = frames[i % len(frames)]
        began_s = time.perf_counter()
        pipeline.run(frame, request)
        seconds.append(time.perf_counter() - began_s)
    after = count_allocations()
    return {
        **quantiles_ms(seconds),
        'first_frame_s': first_s,
        'second_frame_s': second_s,
        'allocations': {name: after[name] - before[name] for name in before},
        'peak_reserved_mib': torch.cuda.max_memory_reserved() / 2**20,
        'reserved_mib': torch.cuda.memory_reserved() / 2**20,
    }


def count_allocations() -> dict[str, int]:
    stats = torch.cuda.memory_stats()
    counts = {
        'tensors': stats['allocation.all.allocated'],
        'segments': stats['segment.all.allocated'],
    }
    if hasattr(torch.cuda, 'host_memory_stats'):
        counts['pinned'] = torch.cuda.host_memory_stats()['num_host_alloc']
    return counts


def graph_ms(work: Callable[[], Any], stream: torch.cuda.Stream, replays: int = 100) -> float:
    """Return the median time of `work` as a CUDA graph of its own, measured with events."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode='thread_local'):
            work()
        times = [event_ms(graph.replay) for _ in range(replays)]
    return statistics.median(times)


def event_ms(work: Callable[[], Any]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def stages_ms(
    pipeline: CudaPipeline, frame: np.ndarray, request: SegmentationRequest, iterations: int
) -> dict[str, float]:
    """Return the time of each stage; those on the GPU are graphs of their own."""
    stream = pipeline._stream
    assert stream is not None
    pipeline.run(frame, request)
    slot = list(pipeline._slots.values())[-1]
    program = slot.program
    with pipeline._arithmetic(), torch.cuda.stream(stream):
        x = program.network_input()
        logit = program.input_logit(x)
        full = program.frame_logit(logit)
        host = torch.empty(program.results.shape, dtype=torch.uint8, pin_memory=True)
        found = {
            'upload': lambda: program.uploaded.copy_(slot.staging, non_blocking=True),
            'network_input': program.network_input,
            'network': lambda: program.input_logit(x),
            'encoder': lambda: pipeline._model.encoder(x),
            'frame_logit': lambda: program.frame_logit(logit),
            'write_results': lambda: program.write_results(full),
            'download': lambda: host.copy_(program.results, non_blocking=True),
            'whole': slot.compute,
        }
        measured = {name: graph_ms(work, stream) for name, work in found.items()}
    staged = slot.staging.numpy()
    for name, on_host in (
        ('host: stage', lambda: program.stage(frame, request, staged)),
        ('host: unpack', lambda: program.segmentation(host.numpy())),
        ('host: pinned memory', lambda: pipeline._host_bytes(program.results.numel())),
    ):
        seconds = []
        for _ in range(iterations):
            began_s = time.perf_counter()
            on_host()
            seconds.append(time.perf_counter() - began_s)
        measured[name] = statistics.median(seconds) * 1e3
    return measured


def slowest_kernels(
    pipeline: CudaPipeline, frame: np.ndarray, request: SegmentationRequest, replays: int = 20
) -> list[dict[str, Any]]:
    """Return the kernels of a frame, the slowest first."""
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        pipeline.run(frame, request)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        for _ in range(replays):
            pipeline.run(frame, request)
    kernels = [e for e in profiler.key_averages() if 'CUDA' in str(e.device_type)]
    kernels.sort(key=lambda e: -e.self_device_time_total)
    return [
        {
            'name': e.key,
            'launches': e.count / replays,
            'us_a_frame': e.self_device_time_total / replays,
        }
        for e in kernels
    ]


def ceilings() -> dict[str, float]:
    """Return the peaks of this GPU: TFLOP/s of a large product, TB/s of a large copy."""
    found = {}
    for dtype in (torch.float16, torch.bfloat16):
        a, b = (torch.randn(8192, 8192, device='cuda').to(dtype) for _ in range(2))
        for _ in range(3):
            torch.mm(a, b)
        ms = statistics.median(event_ms(partial(torch.mm, a, b)) for _ in range(10))
        found[f'{dtype} TFLOP/s'.removeprefix('torch.')] = 2 * 8192**3 / ms / 1e9
        del a, b
    source = torch.randn(2**29, device='cuda')
    target = source.clone()
    ms = statistics.median(event_ms(partial(target.copy_, source)) for _ in range(10))
    found['copy TB/s'] = 2 * source.nbytes / ms / 1e9
    del source, target
    pinned = torch.empty(2**26, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(2**26, dtype=torch.uint8, device='cuda')
    copies: tuple[tuple[str, Callable[[], Any]], ...] = (
        ('upload', lambda: device.copy_(pinned, non_blocking=True)),
        ('download', lambda: pinned.copy_(device, non_blocking=True)),
    )
    for name, work in copies:
        work()
        ms = statistics.median(event_ms(work) for _ in range(10))
        found[f'{name} GB/s'] = pinned.nbytes / ms / 1e6
    return found
