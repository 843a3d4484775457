"""A trained network whose p(road) another one learns."""

from __future__ import annotations

import torch
from torch import Tensor

from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.road_fcn import fold_batch_norm, road_logit
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path


class Teacher:
    """The network of a checkpoint, which gives its p(road) for training crops.

    It is no nn.Module, so it is no part of the network that holds it: no optimizer, average of
    the weights, run's checkpoint or switch to training mode reaches it. Its input rule does not
    matter, since it sees the crops as they are.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._model = fold_batch_norm(checkpoint.model).requires_grad_(False)
        self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.origin = (
            f'p(road) of checkpoint {checkpoint.sha256[:12]}, trained on '
            f'{checkpoint.provenance.training_data}'
        )

    def __deepcopy__(self, memo: object) -> Teacher:
        # The average of the weights begins as a copy of the whole training; this never changes.
        return self

    @torch.no_grad()
    def p_road(self, frames_rgb: Tensor) -> Tensor:
        """Return p(road), [N, H, W] float32, for crops [N, 3, H, W], float RGB in [0, 1].

        It computes on their device and in the precision of the caller's autocast.
        """
        self._model.to(frames_rgb.device)
        return road_logit(self._model.scores(frames_rgb)).sigmoid()


def load_teacher(checkpoint: str) -> Teacher:
    """Return the teacher of a checkpoint file or of the name of a shipped one.

    Raises:
        CheckpointError: as `checkpoint_path` and `load_checkpoint`.
    """
    return Teacher(load_checkpoint(checkpoint_path(checkpoint)))
