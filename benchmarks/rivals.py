r"""Run another road segmentation network beside ours on a CPU: time and accuracy, same frames.

    PYTHONPATH=. python benchmarks/rivals.py road-segmentation-adas-0001.xml \
        --data .../camvid .../idd20k_lite --all .../kitti_road_consensus --rival-input 512x896

The rival is an OpenVINO IR or an ONNX file with one image input, NCHW, BGR, 0..255, and one output
of class probabilities [1, C, H, W]. The default classes are those of Intel's
road-segmentation-adas-0001: background, road, kerb, mark. On each frame all networks run in turn,
in one process and in the node's pipeline; only the network is timed, with the conversion of its
input from uint8. The rival also runs at the input size of each of our networks.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fcn_road_seg.commands.arguments import add_split_arguments, size_hw, split_rule
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.evaluation.metrics import RoadHistogram
from fcn_road_seg.inference.backends.openvino_import import openvino, ops
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
from fcn_road_seg.inference.interfaces import BackendInfo, Segmentation, SegmentationRequest
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.shipped_checkpoints import DEFAULT, checkpoint_path
from fcn_road_seg.utils.cpu_features import has_bfloat16, has_exact_int8
from fcn_road_seg.utils.sampling import evenly_spaced

ROAD_CLASSES = (1, 3)
FLOATS = {'float32': openvino.Type.f32, 'bfloat16': openvino.Type.bf16}
# Keeps the logit finite.
SMALLEST_P = 1e-6


class RivalBackend:
    """The rival's logit of p(road), from a uint8 RGB frame of any size that it takes."""

    info = BackendInfo('openvino', openvino.__version__.partition('-')[0])

    def __init__(self, path: Path, road_classes: Sequence[int], precision: str) -> None:
        self._core = openvino.Core()
        self._model = _with_logit(self._core.read_model(path), road_classes)
        self._config = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': FLOATS[precision],
            'INFERENCE_NUM_THREADS': torch.get_num_threads(),
            'ENABLE_CPU_PINNING': False,
        }
        self._requests: dict[tuple[int, int], openvino.InferRequest] = {}

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        request = self._request(frame_rgb.shape[:2])
        request.infer([np.ascontiguousarray(frame_rgb)[None]], share_inputs=True)
        return request.get_output_tensor().data[0, 0]

    def _request(self, input_hw: tuple[int, int]) -> openvino.InferRequest:
        if input_hw not in self._requests:
            self._model.reshape([1, *input_hw, 3])
            compiled = self._core.compile_model(self._model, 'CPU', self._config)
            self._requests[input_hw] = compiled.create_infer_request()
        return self._requests[input_hw]


def _with_logit(model: openvino.Model, road_classes: Sequence[int]) -> openvino.Model:
    """Return a model that maps uint8 NHWC RGB to the logit of the sum over `road_classes`."""
    # Like ours, it is compiled for each size.
    model.reshape([1, 3, -1, -1])
    steps = openvino.preprocess.PrePostProcessor(model)
    tensor = steps.input().tensor().set_element_type(openvino.Type.u8)
    tensor.set_layout(openvino.Layout('NHWC'))
    tensor.set_color_format(openvino.preprocess.ColorFormat.RGB)
    steps.input().preprocess().convert_color(openvino.preprocess.ColorFormat.BGR)
    steps.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.input().model().set_layout(openvino.Layout('NCHW'))
    model = steps.build()
    (result,) = model.get_results()
    chosen = ops.gather(result.input_value(0), np.array(road_classes), np.int64(1))
    p_road = ops.reduce_sum(chosen, np.array([1]), keep_dims=True)
    p_road = ops.clamp(p_road, SMALLEST_P, 1 - SMALLEST_P)
    logit = ops.log(ops.divide(p_road, ops.subtract(np.float32(1), p_road)))
    return openvino.Model([logit], model.get_parameters(), 'rival')


@dataclass
class Subject:
    """A network at an input rule, with its results on a data set so far."""

    name: str
    rule: InputRule
    threshold: float
    run: Callable[[np.ndarray], Segmentation]
    times_s: list[float] = field(default_factory=list)
    histogram: RoadHistogram = field(default_factory=RoadHistogram)

    def segment(self, frame_rgb: np.ndarray, label: np.ndarray) -> None:
        result = self.run(frame_rgb)
        assert result.network_s is not None
        assert result.road_probability is not None
        self.times_s.append(result.network_s)
        self.histogram.add(result.road_probability, label)

    def forget(self) -> None:
        self.times_s, self.histogram = [], RoadHistogram()

    def row(self, reference_s: Sequence[float]) -> str:
        """Return the cells of the table; `reference_s` are another's times on the same frames."""
        ratio = np.median(np.array(self.times_s) / reference_s)
        ious = (
            f'{self.histogram.mask_measures(round(255 * threshold + 1e-6)).iou:.3f}'
            for threshold in (0.5, self.threshold)
        )
        cells = (
            *(self.name, _rule_text(self.rule), f'{1e3 * np.median(self.times_s):.1f}'),
            *(f'{ratio:.2f}', *ious, f'{self.histogram.measures().max_f:.1f}'),
        )
        return f'| {" | ".join(cells)} |'


def _rule_text(rule: InputRule) -> str:
    return 'x'.join(map(str, rule.fixed_hw)) if rule.fixed_hw else f'{rule.pixels} pixels'


def ours(path: Path, precision: str, rule: InputRule | None) -> Subject:
    """Return one of our checkpoints in a precision, at its own rule or another."""
    checkpoint = load_checkpoint(path)
    segmenter = RoadSegmenter(checkpoint, 'cpu', precision)
    segmenter.input_rule = rule or checkpoint.input_rule

    def run(frame_rgb: np.ndarray) -> Segmentation:
        return segmenter(frame_rgb, channel_order='rgb', road_probability=True, confidence=False)

    name = f'{path.stem}, {precision} ({segmenter.backend.name})'
    return Subject(name, segmenter.input_rule, checkpoint.threshold, run)


def rival(path: Path, road_classes: Sequence[int], precision: str, rule: InputRule) -> Subject:
    """Return the rival in a precision, at an input rule; its threshold is 0.5."""
    pipeline = CpuPipeline(RivalBackend(path, road_classes, precision))

    def run(frame_rgb: np.ndarray) -> Segmentation:
        request = SegmentationRequest(
            input_hw=rule.input_hw(frame_rgb.shape[:2]),
            hidden_input_rows=0,
            hidden_rows=0,
            channel_order='rgb',
            logit_threshold=0.0,
            road_probability=True,
            confidence=False,
            overlay=None,
        )
        return pipeline.run(frame_rgb, request)

    return Subject(f'{path.stem}, {precision}', rule, 0.5, run)


def input_rule(text: str) -> InputRule:
    """Return the rule for 'HxW', or for a pixel count at the frame's aspect ratio."""
    try:
        return InputRule(pixels=int(text)) if text.isdecimal() else InputRule(None, size_hw(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('rival', type=Path, help='OpenVINO IR (.xml) or ONNX file.')
    for option, split in (('--data', 'validation'), ('--all', 'all')):
        parser.add_argument(
            option,
            nargs='+',
            default=[],
            type=Path,
            metavar='DIR',
            help=f'Data sets to measure on, {split} frames.',
        )
    parser.add_argument(
        '--frames',
        type=int,
        default=10**6,
        metavar='N',
        help='Maximum number of frames of each data set, evenly spaced (default: all).',
    )
    parser.add_argument(
        '--checkpoint',
        nargs='+',
        default=[DEFAULT],
        metavar='FILE',
        help='Our checkpoints: files, or lite, the light network shipped with the package '
        '(default: the full one shipped with the package).',
    )
    parser.add_argument(
        '--precision',
        nargs='+',
        default=[
            'int8' if has_exact_int8() else 'int8_avx2',
            *['bfloat16'] * has_bfloat16(),
            'float32',
        ],
        metavar='NAME',
        help='Precisions of ours, the reference of the times first (default: int8 or '
        'int8_avx2, bfloat16 if the CPU has it, and float32).',
    )
    parser.add_argument(
        '--rival-input',
        nargs='+',
        type=input_rule,
        default=[InputRule(None, (512, 896))],
        metavar='SIZE',
        help="The rival's input sizes: HxW, or a pixel count at the frame's aspect ratio "
        '(default: 512x896). Our first checkpoint runs at the first of them, too.',
    )
    parser.add_argument(
        '--road-classes',
        nargs='+',
        type=int,
        default=ROAD_CLASSES,
        metavar='INDEX',
        help="The rival's classes that are road (default: 1 3).",
    )
    parser.add_argument(
        '--threads', type=int, default=0, metavar='N', help='Number of CPU threads; 0: all cores.'
    )
    add_split_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    limit_cpu_threads(args.threads)
    paths = [checkpoint_path(checkpoint) for checkpoint in args.checkpoint]
    subjects = [ours(path, p, None) for path in paths for p in args.precision]
    own_rules = list(dict.fromkeys(subject.rule for subject in subjects))
    subjects.append(ours(paths[0], args.precision[0], args.rival_input[0]))
    subjects += [
        rival(args.rival, args.road_classes, precision, rule)
        for rule in dict.fromkeys([*own_rules, *args.rival_input])
        for precision in FLOATS
    ]
    for split, roots in (('val', args.data), ('all', args.all)):
        for root in roots:
            frames = evenly_spaced(find_frames(root, split, split_rule(args)), args.frames)
            compare(subjects, f'{root.name} {split}', [frame.load for frame in frames])


def compare(
    subjects: Sequence[Subject],
    title: str,
    loaders: Sequence[Callable[[], tuple[np.ndarray, np.ndarray]]],
) -> None:
    """Print a table of the networks on a data set."""
    for subject in subjects:
        subject.forget()
    sizes_seen = set()
    for load in tqdm(loaders, title):
        frame_rgb, label = load()
        # Networks are compiled for each new size; that is not timed.
        if frame_rgb.shape not in sizes_seen:
            sizes_seen.add(frame_rgb.shape)
            for subject in subjects:
                subject.run(frame_rgb)
        for subject in subjects:
            subject.segment(frame_rgb, label)
    print(f'\n{title}, {len(loaders)} frames, {torch.get_num_threads()} threads\n')
    print('| network | input | median (ms) | time, of the first | IoU at 0.5 | IoU | MaxF |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for subject in subjects:
        print(subject.row(subjects[0].times_s), flush=True)


if __name__ == '__main__':
    main()
