"""How far the results of the CUDA pipeline differ from those of the CPU."""

import numpy as np
import torch

from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.cuda_pipeline import CudaPipeline
from fcn_road_seg.inference.interfaces import Segmentation, SegmentationRequest
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.road_fcn import fold_batch_norm


class Reference:
    """The CPU's float32 results, computed once for each frame."""

    def __init__(
        self, checkpoint: Checkpoint, frames: list[np.ndarray], request: SegmentationRequest
    ) -> None:
        pipeline = CpuPipeline(TorchBackend(checkpoint.model.weights().folded(), 'float32'))
        self.results = [pipeline.run(frame, request) for frame in frames]

    def compare(self, results: list[Segmentation]) -> dict[str, float]:
        """Return the masks' IoU, pixels that differ, and the overlays' largest difference."""
        both = union = differing = total = levels = 0
        for found, expected in zip(results, self.results, strict=True):
            road, expected_road = found.mask > 0, expected.mask > 0
            both += int(np.sum(road & expected_road))
            union += int(np.sum(road | expected_road))
            same = road == expected_road
            differing += int(np.sum(~same))
            total += same.size
            if found.overlay_bgr is not None and expected.overlay_bgr is not None:
                apart = found.overlay_bgr[same].astype(int) - expected.overlay_bgr[same]
                levels = max(levels, int(np.abs(apart).max(initial=0)))
        return {
            'iou': both / max(union, 1),
            'differing_of_100000': 1e5 * differing / total,
            'overlay_levels': levels,
        }


def logit_errors(
    pipeline: CudaPipeline, frame: np.ndarray, request: SegmentationRequest, checkpoint: Checkpoint
) -> dict[str, float]:
    """Compare the network's logits with those in float64 on the CPU, from the same input."""
    pipeline.run(frame, request)
    program = list(pipeline._slots.values())[-1].program
    with pipeline._arithmetic(), torch.cuda.stream(pipeline._stream):
        x = program.network_input()
        logit = program.input_logit(x).cpu().double()
        x = x.cpu()
    model = fold_batch_norm(checkpoint.model).double()
    scores = model.scores_of_normalised(x.double())
    expected = scores[:, 1] - scores[:, 0]
    return {
        'relative': float((logit - expected).norm() / expected.norm()),
        'largest': float((logit - expected).abs().max()),
    }
