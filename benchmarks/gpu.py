"""Time, memory and accuracy of the CUDA pipeline in each precision, on a machine with a GPU.

PYTHONPATH=. python benchmarks/gpu.py --out results [--images DIR ...] [--variants NAME ...]

It prints a table at the end, and writes all figures, the slowest kernels and the environment to
OUT/gpu.json.
"""

import argparse
import gc
import json
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from gpu_agreement import Reference, logit_errors
from gpu_timing import ceilings, measure_host_to_host, slowest_kernels, stages_ms

from fcn_road_seg.inference.cuda_pipeline import CudaPipeline
from fcn_road_seg.inference.interfaces import OverlayStyle, SegmentationRequest
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.input_rule import logit_threshold
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive

FRAME_HW = (375, 1242)
SIZES_HW = ((256, 256), (192, 640), (352, 1216))
TARGET_HW = (352, 1216)
PICTURES = {'.jpeg', '.jpg', '.png'}


class WithoutGraph(CudaPipeline):
    """The same pipeline, whose kernels are launched one by one."""

    def _capture(self, slot: Any) -> Any:
        return None


class WithoutSearch(CudaPipeline):
    """The same pipeline, with the algorithms that cuDNN proposes without measuring them."""

    def _arithmetic(self) -> Any:
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False)


def compile_network(model: RoadFCN) -> None:
    model.scores_of_normalised = torch.compile(model.scores_of_normalised, dynamic=False)


@dataclass(frozen=True)
class Variant:
    """A pipeline to measure; `change` modifies its model, which is on the GPU already."""

    dtype: torch.dtype
    pipeline: type[CudaPipeline] = CudaPipeline
    change: Callable[[RoadFCN], None] | None = None


VARIANTS = {
    'float32-eager': Variant(torch.float32, WithoutGraph),
    'float32': Variant(torch.float32),
    'float16-eager': Variant(torch.float16, WithoutGraph),
    'float16': Variant(torch.float16),
    'bfloat16': Variant(torch.bfloat16),
    'float16-no-search': Variant(torch.float16, WithoutSearch),
    # Last, as it takes minutes.
    'float16-compiled': Variant(torch.float16, change=compile_network),
}


def make_pipeline(variant: Variant, checkpoint: Checkpoint) -> CudaPipeline:
    """Return a variant's pipeline with a copy of the model."""
    model = fold_batch_norm(checkpoint.model)
    pipeline = variant.pipeline(model, torch.device('cuda'), variant.dtype)
    if variant.change is not None:
        with torch.cuda.stream(pipeline._stream):
            variant.change(model)
    return pipeline


def release_memory() -> None:
    """Release the previous variant's memory, so that the next one's figures are its own."""
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@dataclass(frozen=True)
class Task:
    """What is measured: times on `frames`, accuracy on `pictures` against the CPU's results."""

    checkpoint: Checkpoint
    frames: list[np.ndarray]
    pictures: dict[str, list[np.ndarray]]
    references: dict[str, Reference]
    logit_threshold: float
    iterations: int

    def request(self, input_hw: tuple[int, int], *, overlay: bool = True) -> SegmentationRequest:
        return SegmentationRequest(
            input_hw=input_hw,
            hidden_input_rows=0,
            hidden_rows=0,
            channel_order='bgr',
            logit_threshold=self.logit_threshold,
            road_probability=False,
            confidence=False,
            overlay=OverlayStyle() if overlay else None,
        )


def measure(variant: Variant, task: Task, result: dict[str, Any]) -> None:
    """Fill `result` step by step, so that it keeps the earlier figures if a later step fails."""
    began_s = time.perf_counter()
    pipeline = make_pipeline(variant, task.checkpoint)
    sizes = result['sizes'] = {}
    for input_hw in SIZES_HW:
        for overlay in (False, True):
            name = f'{input_hw[0]} x {input_hw[1]}, {"mask, overlay" if overlay else "mask"}'
            request = task.request(input_hw, overlay=overlay)
            sizes[name] = measure_host_to_host(pipeline, task.frames, request, task.iterations)
    request = task.request(TARGET_HW)
    accuracy = result['accuracy'] = {}
    for name, reference in task.references.items():
        results = [pipeline.run(frame, request) for frame in task.pictures[name]]
        accuracy[name] = reference.compare(results)
    frame = task.frames[0]
    result['logits'] = logit_errors(pipeline, frame, task.request((192, 640)), task.checkpoint)
    if variant.pipeline is not WithoutGraph:
        stages = result['stages_ms'] = {}
        for input_hw in SIZES_HW:
            name = f'{input_hw[0]} x {input_hw[1]}'
            stages[name] = stages_ms(pipeline, frame, task.request(input_hw), task.iterations)
        result['kernels'] = slowest_kernels(pipeline, frame, request)
    result['took_s'] = time.perf_counter() - began_s


def read_images(folders: list[Path], most: int) -> list[np.ndarray]:
    paths = [p for folder in folders for p in sorted(folder.rglob('*')) if p.suffix in PICTURES]
    chosen = paths[:: max(1, len(paths) // most)][:most]
    return [frame for p in chosen if (frame := cv2.imread(str(p), cv2.IMREAD_COLOR)) is not None]


def environment() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        'gpu': properties.name,
        'memory_gib': properties.total_memory / 2**30,
        'torch': torch.__version__,
        'cuda': torch.version.cuda,
        'cudnn': torch.backends.cudnn.version(),
        'opencv': cv2.__version__,
        'numpy': np.__version__,
        'cpu_threads': torch.get_num_threads(),
    }


def table(found: dict[str, Any]) -> str:
    lines = [f'{found["environment"]}', f'{found["ceilings"]}', '']
    columns = [
        'variant at 352 x 1216, mask and overlay',
        'p50 ms',
        'p95',
        'p99',
        'network',
        'MiB',
        'allocs',
        'IoU rendered',
        'IoU images',
    ]
    rows = []
    for name, result in found['variants'].items():
        timed = result.get('sizes', {}).get('352 x 1216, mask, overlay')
        if timed is None:
            rows.append([name, result.get('error', '')[:100]])
            continue
        accuracy = result.get('accuracy', {})
        network = result.get('stages_ms', {}).get('352 x 1216', {}).get('network')
        rows.append(
            [
                name,
                *(f'{timed[p]:.3f}' for p in ('p50', 'p95', 'p99')),
                '' if network is None else f'{network:.3f}',
                f'{timed["reserved_mib"]:.0f}',
                str(sum(timed['allocations'].values())),
                *(
                    f'{accuracy[key]["iou"]:.5f}' if key in accuracy else ''
                    for key in ('rendered', 'images')
                ),
            ]
        )
    lines.append(' | '.join(columns))
    lines += [' | '.join(row) for row in rows]
    ours = found['variants'].get('float16', {})
    for size, stages in ours.get('stages_ms', {}).items():
        lines.append(f'float16 {size}: ' + ', '.join(f'{k} {v:.3f}' for k, v in stages.items()))
    for kernel in ours.get('kernels', [])[:12]:
        lines.append(
            f'{kernel["us_a_frame"]:7.1f} us {kernel["launches"]:5.1f} x {kernel["name"][:90]}'
        )
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out', type=Path, required=True, metavar='DIR', help='Folder for gpu.json.'
    )
    parser.add_argument(
        '--checkpoint',
        type=Path,
        metavar='FILE',
        help='Checkpoint file (default: the one shipped with the package).',
    )
    parser.add_argument(
        '--images', type=Path, nargs='*', default=[], help='Folders of real frames.'
    )
    parser.add_argument(
        '--variants',
        nargs='*',
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar='NAME',
        help=f'Variants to measure: {", ".join(VARIANTS)} (default: all).',
    )
    parser.add_argument(
        '--iterations',
        type=int,
        default=500,
        metavar='N',
        help='Number of timed frames (default: 500).',
    )
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, 'gpu: no CUDA device; run this on a machine with a GPU\n')
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(args.checkpoint or default_checkpoint_path())
    frames = [SyntheticDrive(seed, FRAME_HW).render(1.0)[0] for seed in range(8)]
    pictures = {'rendered': frames, 'images': read_images(args.images, most=40)}
    task = Task(
        checkpoint=checkpoint,
        frames=frames,
        pictures={name: of_them for name, of_them in pictures.items() if of_them},
        references={},
        logit_threshold=logit_threshold(checkpoint.threshold),
        iterations=args.iterations,
    )
    for name, of_them in task.pictures.items():
        task.references[name] = Reference(checkpoint, of_them, task.request(TARGET_HW))
    found: dict[str, Any] = {
        'environment': environment(),
        'ceilings': ceilings(),
        'images': len(pictures['images']),
        'variants': {},
    }
    for name in args.variants:
        result = found['variants'][name] = {}
        release_memory()
        try:
            with torch.inference_mode():
                measure(VARIANTS[name], task, result)
        except Exception as error:
            # A variant that fails on this machine must not lose the figures of the others.
            traceback.print_exc()
            result['error'] = f'{type(error).__name__}: {error}'
        print(f'{name}: {result.get("took_s", math.nan):.0f} s', flush=True)
        # After each variant: a run that is cut off keeps its figures.
        (args.out / 'gpu.json').write_text(json.dumps(found, indent=1))
    print(table(found))


if __name__ == '__main__':
    main()
