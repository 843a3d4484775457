"""The options of a training run, apart from its recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from fcn_road_seg.datasets.splits import SplitRule
from fcn_road_seg.model.checkpoint_file import CheckpointOf, Provenance
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.utils.cpu_features import usable_cpus

# Lightning's names. Its other precisions store the weights in a type that the network cannot take.
PRECISIONS = ('auto', '32-true', 'bf16-mixed', '16-mixed')
MAX_SEED = 2**32 - 1
# More would help only a machine that trains on hundreds of frames a second without a cache.
MAX_DEFAULT_WORKERS = 8


@dataclass(frozen=True)
class TrainingOptions:
    """Data, network, length, hardware and output of a training run.

    Attributes:
        data: data set folders, each DIR or DIR=SHARE (`find_sources`).
        rendered: scenes to render, COUNT or COUNT=SHARE; None renders none.
        split: which frames are used for validation.
        few_frames: whether only a few frames of each data set are used, for a dry run.
        cache: folder of the decoded frames (`FrameCache`); None is `default_cache_folder`.
        cache_gb: its maximum size in units of 1e9 bytes; 0 disables the cache.
        workers: number of processes that read frames, for each device; None is `default_workers`.
        network: the network to build.
        weights: its initial weights (`load_weights`).
        teachers: checkpoints to also learn from (`load_teacher`); if there are none, only the
            labels are learnt.
        steps: optimizer steps, at least 1; rounded up to a multiple of `val_every`.
        val_every: steps between two validations; each of them writes checkpoints.
        freeze_steps: number of initial steps in which the encoder is frozen.
        patience: number of validations without a better IoU after which the run ends early; None:
            it never does.
        precision: one of PRECISIONS; auto is bf16-mixed if recipe and hardware allow it.
        accelerator: Lightning's name, such as auto, cpu or gpu.
        devices: Lightning's count or list of devices, or auto.
        nodes: number of machines.
        strategy: Lightning's name, such as auto or ddp.
        seed: random seed, in 0..MAX_SEED, from which all randomness follows.
        resume: the last.ckpt of the run to continue.
        out: folder to write to.
        licence: licence of the training data, for the checkpoint's metadata.
        threshold: lowest p(road), in (0, 1), that counts as road, in validation and afterwards.

    Raises:
        ValueError: precision, seed, freeze_steps or cache_gb is invalid.
    """

    data: tuple[str, ...] = ()
    rendered: str | None = None
    split: SplitRule = field(default_factory=SplitRule)
    few_frames: bool = False
    cache: Path | None = None
    cache_gb: float = 20.0
    workers: int | None = None
    network: RoadFCNConfig = field(default_factory=RoadFCNConfig)
    weights: str = 'imagenet'
    teachers: tuple[str, ...] = ()
    steps: int = 6000
    val_every: int = 300
    freeze_steps: int = 0
    patience: int | None = None
    precision: str = 'auto'
    accelerator: str = 'auto'
    devices: str = 'auto'
    nodes: int = 1
    strategy: str = 'auto'
    seed: int = 0
    resume: Path | None = None
    out: Path = Path('train_out')
    licence: str = Provenance.licence
    threshold: float = CheckpointOf.threshold

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(
                f'precision {self.precision!r} is unknown; use one of {", ".join(PRECISIONS)}'
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f'seed {self.seed} is not in 0..{MAX_SEED}')
        if not 0 <= self.cache_gb < math.inf:
            raise ValueError(f'cache size {self.cache_gb} is not a number of at least 0')
        if self.freeze_steps < 0:
            raise ValueError(
                f'the encoder cannot be frozen for {self.freeze_steps} steps; use 0 for none'
            )


def default_workers() -> int:
    """Return the default number of processes that decode: one for each core, at most 8."""
    return min(MAX_DEFAULT_WORKERS, len(usable_cpus()))
