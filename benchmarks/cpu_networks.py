"""Compare the libraries that run the network on a CPU: time, and accuracy of the mask.

    pip install onnx onnxscript onnxruntime
    PYTHONPATH=. python benchmarks/cpu_networks.py --data .../kitti_road_consensus .../camvid

On each frame, all run in turn, in the node's pipeline. onnxruntime's int8 is calibrated on
training frames of the same data sets; OpenVINO's int8 uses the checkpoint's ranges.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from fcn_road_seg.datasets.labels import ROAD, VOID
from fcn_road_seg.datasets.splits import SplitRule, find_frames
from fcn_road_seg.inference.backends.ncnn_backend import NcnnBackend
from fcn_road_seg.inference.backends.openvino_backend import OpenVinoBackend
from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.interfaces import BackendInfo, CpuBackend
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.input_rule import resize_to_input
from fcn_road_seg.model.onnx_export import export_onnx
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.utils.cpu_features import has_exact_int8, has_fast_bfloat16
from test.helpers.reference import ReferenceBackend

REFERENCE = 'PyTorch eager'
CALIBRATION_FRAMES = 64


class OnnxBackend:
    """An ONNX file that gives the logit, run by onnxruntime."""

    info = BackendInfo('onnxruntime', '')

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=['CPUExecutionProvider']
        )

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        return self._session.run(None, {'frames_rgb': _nchw(frame_rgb)})[0][0]


def _nchw(frame_rgb: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame_rgb.transpose(2, 0, 1)[None])


def build_backends(
    checkpoint: Checkpoint, calibration: list[np.ndarray], folder: Path
) -> Iterator[tuple[str, CpuBackend]]:
    """Yield the name of each backend and the backend, the reference first."""
    folded = checkpoint.model.weights().folded()
    yield REFERENCE, ReferenceBackend(checkpoint.model)
    yield 'PyTorch folded, channels_last', TorchBackend(folded, 'float32')
    yield 'ncnn', NcnnBackend(folded, torch.get_num_threads())
    if has_fast_bfloat16():
        yield 'PyTorch bfloat16 (AMX)', TorchBackend(folded, 'bfloat16')
    float32, int8 = folder / 'float32.onnx', folder / 'int8.onnx'
    export_onnx(checkpoint, float32)
    _remove_sigmoid(float32)
    yield 'onnxruntime', OnnxBackend(float32)
    _quantise(float32, int8, calibration)
    yield 'onnxruntime int8', OnnxBackend(int8)
    precisions = ['float32', 'bfloat16'] if has_fast_bfloat16() else ['float32']
    for precision in [*precisions, 'int8' if has_exact_int8() else 'int8_avx2']:
        openvino_backend = OpenVinoBackend(
            folded, precision, checkpoint.activation_peaks, torch.get_num_threads()
        )
        yield f'OpenVINO {precision}', openvino_backend


def _remove_sigmoid(path: Path) -> None:
    """Remove the last layer, the sigmoid that gives p(road)."""
    import onnx

    model = onnx.load(path)
    (sigmoid,) = (node for node in model.graph.node if node.op_type == 'Sigmoid')
    model.graph.node.remove(sigmoid)
    model.graph.output[0].name = sigmoid.input[0]
    onnx.save(model, path)


def _quantise(source: Path, target: Path, calibration: list[np.ndarray]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Frames(CalibrationDataReader):
        def __init__(self) -> None:
            self._frames = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            frame = next(self._frames, None)
            return None if frame is None else {'frames_rgb': _nchw(frame)}

    quantize_static(
        source,
        target,
        Frames(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=['Conv', 'ConvTranspose', 'MaxPool', 'Relu', 'Add'],
    )


def overlap(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Return the numbers of pixels in the intersection and in the union."""
    return np.count_nonzero(a & b), np.count_nonzero(a | b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--data', nargs='+', required=True, metavar='DIR', help='Folders of labelled data sets.'
    )
    parser.add_argument(
        '--frames',
        type=int,
        default=40,
        metavar='N',
        help='Number of frames of each data set (default: 40).',
    )
    args = parser.parse_args()
    checkpoint = load_checkpoint(default_checkpoint_path())
    frames, calibration = [], []
    for root in args.data:
        rule = SplitRule()
        for split, count, chosen in (
            ('val', args.frames, frames),
            ('train', CALIBRATION_FRAMES // len(args.data), calibration),
        ):
            found = find_frames(root, split, rule)
            step = max(1, len(found) // count)
            chosen += [frame.load() for frame in found[::step][:count]]
    rule = checkpoint.input_rule
    scaled = [resize_to_input(frame, rule.input_hw(frame.shape[:2])) for frame, _ in calibration]
    segmenter = RoadSegmenter(checkpoint, 'cpu')
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        compare(segmenter, dict(build_backends(checkpoint, scaled, Path(folder))), frames)


def compare(
    segmenter: RoadSegmenter,
    backends: dict[str, CpuBackend],
    frames: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Print a table of the backends on labelled frames."""
    labelled, agreed = ({name: np.zeros(2) for name in backends} for _ in range(2))
    times_s = {name: [] for name in backends}
    changed = dict.fromkeys(backends, 0)
    for i, (frame_rgb, label) in enumerate(tqdm(frames)):
        reference = None
        for name, backend in backends.items():
            segmenter._pipeline = CpuPipeline(backend)
            if i == 0:
                segmenter(frame_rgb, channel_order='rgb')
            found = segmenter(frame_rgb, channel_order='rgb', confidence=False)
            mask = found.mask == 255
            reference = mask if reference is None else reference
            known = label != VOID
            labelled[name] += overlap(mask & known, (label == ROAD) & known)
            agreed[name] += overlap(mask, reference)
            changed[name] += np.count_nonzero(mask != reference)
            times_s[name].append(found.network_s)
    pixels = sum(label.size for _, label in frames)
    print(f'{len(frames)} frames, {pixels / 1e6:.1f} megapixels')
    print('| network | median (ms) | time, of eager | IoU | IoU with eager | pixels changed |')
    print('| --- | --- | --- | --- | --- | --- |')
    eager = np.array(times_s[REFERENCE])
    for name in backends:
        ratio = np.median(np.array(times_s[name]) / eager)
        ious = ' | '.join(f'{a / b:.4f}' for a, b in (labelled[name], agreed[name]))
        median_ms = 1e3 * np.median(times_s[name])
        share = changed[name] / pixels
        print(f'| {name} | {median_ms:.0f} | {ratio:.2f} | {ious} | {share:.6f} |')


if __name__ == '__main__':
    main()
