"""What a training run is told, besides its recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fcn_road_seg.datasets.splits import SplitRule
from fcn_road_seg.model.checkpoint import Checkpoint, Provenance
from fcn_road_seg.model.road_fcn import RoadFCNConfig


@dataclass(frozen=True)
class TrainingOptions:
    """Data, network, length, hardware and output of a training run.

    Attributes:
        data: data set folders, each DIR or DIR=SHARE (`load_sources`).
        rendered: scenes to render, COUNT or COUNT=SHARE; None renders none.
        split: which frames validate.
        network: the network to build.
        weights: its initial weights (`load_weights`).
        steps: optimizer steps, at least 1; rounded up to a multiple of `val_every`.
        val_every: steps between two validations; each of them writes checkpoints.
        freeze_steps: steps at the start during which the encoder stays as it is.
        patience: validations without a better IoU that end the run; None: it is never cut short.
        precision: Lightning's name, or auto: bf16-mixed if recipe and hardware allow it.
        accelerator: Lightning's name, such as auto, cpu or gpu.
        devices: Lightning's count or list of devices, or auto.
        nodes: number of machines.
        seed: random seed, from which all randomness follows.
        resume: the last.ckpt of the run to continue.
        out: folder to write to.
        licence: licence of the training data, for the checkpoint's metadata.
        threshold: lowest p(road), in (0, 1), that counts as road, in validation and afterwards.
    """

    data: tuple[str, ...] = ()
    rendered: str | None = None
    split: SplitRule = field(default_factory=SplitRule)
    network: RoadFCNConfig = field(default_factory=RoadFCNConfig)
    weights: str = 'imagenet'
    steps: int = 6000
    val_every: int = 300
    freeze_steps: int = 0
    patience: int | None = None
    precision: str = 'auto'
    accelerator: str = 'auto'
    devices: str = 'auto'
    nodes: int = 1
    seed: int = 0
    resume: Path | None = None
    out: Path = Path('train_out')
    licence: str = Provenance.licence
    threshold: float = Checkpoint.threshold
