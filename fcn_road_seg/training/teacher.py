"""A trained network whose p(road) another network learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.network_config import OUTPUT_STRIDE
from fcn_road_seg.model.road_fcn import fold_batch_norm, road_logit
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path

# The logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB on a CPU; the next call may
# overwrite it. H and W are multiples of OUTPUT_STRIDE.
RoadLogit = Callable[[np.ndarray], np.ndarray]
# Takes a teacher's checkpoint, and returns None if PyTorch is to compute the logit.
FastRoadLogitOf = Callable[[Checkpoint], RoadLogit | None]


class Teacher:
    """The network of a checkpoint, which gives its p(road) for training crops.

    If `fast_road_logit` is given, it computes p(road) instead of PyTorch; all crops must then be
    on the CPU.

    It is not an nn.Module, and so not part of the module that holds it: the optimizer, the weight
    average, the run's checkpoints and training mode do not affect it. Its input rule does not
    matter, since it sees the crops as they are.
    """

    def __init__(self, checkpoint: Checkpoint, fast_road_logit: RoadLogit | None = None) -> None:
        self._fast_road_logit = fast_road_logit
        self._model = fold_batch_norm(checkpoint.model)
        self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.origin = (
            f'p(road) of checkpoint {checkpoint.sha256[:12]}, trained on '
            f'{checkpoint.provenance.training_data}'
        )

    def __deepcopy__(self, memo: object) -> Teacher:
        # The weight average starts as a deep copy of the training module; teachers never change.
        return self

    @torch.no_grad()
    def p_road(self, frames_rgb: Tensor) -> Tensor:
        """Return p(road), [N, H, W] float32, for crops [N, 3, H, W], float RGB in [0, 1].

        It computes on their device and, with PyTorch, in the precision of the caller's autocast.
        """
        aligned = not any(side % OUTPUT_STRIDE for side in frames_rgb.shape[-2:])
        if self._fast_road_logit and aligned:
            pixels = (frames_rgb * 255).round().to(torch.uint8)
            frames = pixels.permute(0, 2, 3, 1).contiguous().numpy()
            logits = [self._fast_road_logit(frame).copy() for frame in frames]
            return torch.from_numpy(np.stack(logits)).sigmoid()
        self._model.to(frames_rgb.device)
        return road_logit(self._model.scores(frames_rgb)).sigmoid()


def mean_p_road(teachers: Sequence[Teacher], frames_rgb: Tensor) -> Tensor:
    """Return the mean of the teachers' `Teacher.p_road`."""
    return torch.stack([teacher.p_road(frames_rgb) for teacher in teachers]).mean(dim=0)


def load_teacher(checkpoint: str, fast_road_logit_of: FastRoadLogitOf) -> Teacher:
    """Return the teacher for a checkpoint file, or for the name of a shipped checkpoint.

    Raises:
        CheckpointError: as `checkpoint_path` and `load_checkpoint`.
    """
    loaded = load_checkpoint(checkpoint_path(checkpoint))
    return Teacher(loaded, fast_road_logit_of(loaded))
