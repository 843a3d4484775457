"""Writes a checkpoint as an ONNX model, and checks it against the network."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fcn_road_seg import __version__
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.checkpoint_file import CLASS_NAMES
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm, road_logit
from fcn_road_seg.utils.atomic_write import atomic_write

if TYPE_CHECKING:
    import onnx

INPUT_NAME = 'frames_rgb'
OUTPUT_NAME = 'p_road'
# The oldest that the exporter writes without a conversion, so the one that most runtimes read.
OPSET = 18
# A quarter of a step of the 8-bit confidence; differences due to the order of float32 sums are far
# smaller.
LARGEST_DIFFERENCE = 1e-3


class ExportError(ValueError):
    """ONNX packages are missing, or the model differs from the network; the text says which."""


class _RoadProbability(nn.Module):
    def __init__(self, net: RoadFCN) -> None:
        super().__init__()
        self.net = net

    def forward(self, frames_rgb: Tensor) -> Tensor:
        return torch.sigmoid(road_logit(self.net.scores(frames_rgb)))


def export_onnx(checkpoint: Checkpoint, path: str | Path) -> float | None:
    """Write `checkpoint` to one ONNX file, which appears complete and checked or not at all.

    The model takes `frames_rgb`, uint8 [N, 3, H, W] in [0, 255], and gives `p_road`, float32
    [N, H, W] in [0, 1], for any N, H, W >= 1. Weights are float32, batch norm of the encoder is
    folded, and normalisation, padding and cropping are part of the model. Its metadata contain
    the input rule, the threshold and the origin.

    Returns the largest difference of p(road) between the model and the network on one random
    frame, or None if onnxruntime is not installed and only the file's structure was checked.

    Raises:
        ExportError: ONNX packages are missing, or the model gives a different p(road).
        OSError: the file cannot be written.
    """
    model = _onnx_model(checkpoint)
    import onnx  # Not at the top: see `_onnx_model`.

    with atomic_write(path) as part:
        part.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(part), full_check=True)
        difference = _difference(checkpoint.model, part)
        # Not `>`, which would accept NaN.
        if difference is not None and not difference <= LARGEST_DIFFERENCE:
            raise ExportError(
                f'p(road) in ONNX differs by {difference:.2g}, more than {LARGEST_DIFFERENCE}; '
                'try other versions of torch, onnxscript and onnxruntime'
            )
    return difference


def _onnx_model(checkpoint: Checkpoint) -> onnx.ModelProto:
    # Not imported at the top: they are optional, and most errors can be reported without them.
    try:
        import onnx
        import onnxscript  # noqa: F401  (PyTorch's exporter needs it)
    except ImportError as error:
        raise ExportError(
            f'ONNX cannot be written ({error}); pip install onnx onnxscript onnxruntime'
        ) from error
    if torch.__version__ < '2.7':
        raise ExportError(f'torch {torch.__version__} is too old for ONNX; install 2.7 or newer')
    network = _RoadProbability(fold_batch_norm(checkpoint.model)).eval()
    # No size is 0 or 1, which the exporter treats as constants. The dimensions have no names: with
    # names, PyTorch 2.7 to 2.9 refuse the padding, which depends on the remainder of a size.
    sample = torch.zeros(2, 3, 65, 99, dtype=torch.uint8)
    sizes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    # The exporter's warnings concern its internals; its errors are raised.
    logging.disable(logging.WARNING)
    try:
        program = torch.onnx.export(
            network,
            (sample,),
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=(sizes,),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    finally:
        logging.disable(logging.NOTSET)
    assert program is not None
    model = program.model_proto
    _tidy(model)
    onnx.helper.set_model_props(model, _metadata(checkpoint))
    return model


def _tidy(model: onnx.ModelProto) -> None:
    graph = model.graph
    frames, p_road = (v.type.tensor_type.shape.dim for v in (graph.input[0], graph.output[0]))
    # The exporter numbers dimensions, and does not know that cropping restores the frame's size.
    for dim, name in zip((frames[0], *frames[2:], *p_road), 'NHWNHW', strict=True):
        dim.dim_param = name
    # The shapes of intermediate values use these numbers, too; every reader can infer the shapes.
    graph.ClearField('value_info')
    # These contain stack traces, which name folders of the exporting machine.
    for part in (graph, *graph.node, *graph.input, *graph.output):
        part.ClearField('metadata_props')


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    return {
        'checkpoint_sha256': checkpoint.sha256,
        'threshold': str(checkpoint.threshold),
        'input_rule': json.dumps(asdict(checkpoint.input_rule)),
        'class_names': json.dumps(CLASS_NAMES),
        'training_data': checkpoint.provenance.training_data,
        'licence': checkpoint.provenance.licence,
        'package_version': __version__,
    }


def _difference(model: RoadFCN, path: Path) -> float | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    # Its size is neither the sample's nor a multiple of 32.
    frame = np.random.default_rng(0).integers(0, 256, (1, 3, 100, 150), np.uint8)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    (p_road,) = session.run([OUTPUT_NAME], {INPUT_NAME: frame})
    with torch.inference_mode():
        expected = model(torch.from_numpy(frame))[:, 1].numpy()
    return float(np.abs(p_road - expected).max())
