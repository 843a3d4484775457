"""One training run: build network, data and trainer, fit, write the checkpoint."""

from __future__ import annotations

import errno
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities import rank_zero_info
from tqdm import tqdm

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.model.activation_ranges import FRAME_COUNT
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import Provenance
from fcn_road_seg.model.rescaling import rescale_norms
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm
from fcn_road_seg.training.data_module import RoadData
from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.frame_cache import FrameCache, default_cache_folder
from fcn_road_seg.training.lightning_module import RoadTraining
from fcn_road_seg.training.options import TrainingOptions, default_workers
from fcn_road_seg.training.pretrained import WITHOUT_DECODER, load_weights
from fcn_road_seg.training.recipes import Recipe
from fcn_road_seg.training.road_frames import frame_readers
from fcn_road_seg.training.run_folder import (
    BEST_NAME,
    CHECKPOINT_NAME,
    LAST_NAME,
    VAL_IOU_KEY,
    check_resumed_run,
    check_run_folder,
    full_disk_error,
    read_run_checkpoint,
)
from fcn_road_seg.training.sources import (
    FoundSource,
    Source,
    find_sources,
    refuse_validation_without_road,
    summarize_reading,
)
from fcn_road_seg.training.teacher import FastRoadLogitOf, Teacher, load_teacher
from fcn_road_seg.training.trainer import build_trainer, quieten_lightning
from fcn_road_seg.utils.atomic_write import atomic_write
from fcn_road_seg.utils.sampling import evenly_spaced

# Takes a trained network and (H, W, 3) uint8 RGB training frames, and returns the network with
# what lower precisions need.
Calibrate = Callable[[Checkpoint, Sequence[np.ndarray]], Checkpoint]


def train(
    options: TrainingOptions,
    recipe: Recipe,
    calibrate: Calibrate,
    fast_road_logit_of: FastRoadLogitOf,
) -> dict[str, dict[str, float]] | None:
    """Train a network, write it to `options.out` and return its metrics, {data set: {'iou': ...}}.

    The caller passes `calibrate` and `fast_road_logit_of`, since the trainer knows the network but
    not how it is run. If there are several processes, the first one writes the network, and the
    others return None.

    Raises:
        ValueError: weights, data, hardware, the output folder or the run to resume cannot be
            used; everything but the content of the data is checked before they are read.
        TrainingError: the training failed.
        KeyboardInterrupt: a signal ended it; the text says how to continue.
    """
    if options.weights == 'none' and recipe.frozen_stages:
        raise ValueError('stages with random weights cannot be frozen; give --weights')
    if options.weights in WITHOUT_DECODER and recipe.freeze_norms:
        raise ValueError(
            f'--weights {options.weights} has no batch norm statistics of the decoder to freeze; '
            'give a checkpoint, or leave --freeze-norms out'
        )
    check_run_folder(options.out, options.resume)
    quieten_lightning()
    # tqdm's own lock is shared by processes: if one is killed, Python 3.14 warns of a leak.
    tqdm.set_lock(threading.RLock())
    torch.set_float32_matmul_precision('high')
    found = find_sources(options.data, options.rendered, options.split)
    if options.few_frames:
        found = [source.few() for source in found]
    val_names = [source.name for source in found if source.val]
    cache_bytes = round(options.cache_gb * 1e9)
    # Where there is no home folder, `--cache-size 0` still works.
    folder = options.cache or (default_cache_folder() if cache_bytes else options.out)
    cache = FrameCache(folder.absolute(), cache_bytes)
    trainer = build_trainer(options, recipe, validates=bool(val_names))
    lightning.seed_everything(options.seed)
    net = RoadFCN(options.network)
    if options.resume is None:
        earlier_data = load_weights(net, options.weights)
    else:
        earlier_data = check_resumed_run(options, net, has_average=bool(recipe.ema_decay))
    on_cpu = isinstance(trainer.accelerator, CPUAccelerator)
    logit_of = fast_road_logit_of if on_cpu else lambda _: None
    teachers = [load_teacher(checkpoint, logit_of) for checkpoint in options.teachers]
    _say_what_does_not_validate(found)
    if options.weights == 'none':
        # The smaller rate is for a pretrained encoder.
        recipe = replace(recipe, encoder_rate=1.0)
    # More pixels than the network sees would only take memory and cause aliasing.
    seen_pixels = recipe.input_rule.pixels or math.prod(recipe.input_rule.fixed_hw or ())
    workers = default_workers() if options.workers is None else options.workers
    training = RoadTraining(
        net,
        recipe,
        val_names,
        options.freeze_steps,
        options.threshold,
        options.seed,
        teachers,
        _training_data(found, teachers, earlier_data),
    )
    with _interrupt_told(trainer, options.out):
        with frame_readers():
            began_s = time.monotonic()
            begin = trainer.global_rank / trainer.world_size
            sources = [s.read(cache, round(seen_pixels * 1.5), workers, begin) for s in found]
            for line in summarize_reading(sources, cache, time.monotonic() - began_s):
                rank_zero_info(f'train: {line}')
            # The few frames of a dry run may have none.
            if not options.few_frames:
                refuse_validation_without_road(sources)
            data = RoadData(sources, recipe.batch, options.val_every, options.seed, workers)
            fit(trainer, training, data, options)
        if not trainer.is_global_zero:
            return None
        return write_checkpoint(options, training, sources, calibrate)


def _training_data(found: Sequence[FoundSource], teachers: Sequence[Teacher], earlier: str) -> str:
    """Return what the network learns from, and `earlier`, what its initial weights learnt from.

    Everything is named, because all terms may apply to the network.
    """
    data = ', '.join(f'{source.name} ({len(source.train)} frames)' for source in found)
    data = '; '.join([data, *(teacher.origin for teacher in teachers)])
    # A resumed run, or one that goes on from its own weights, would otherwise repeat itself.
    if earlier.startswith(data):
        return earlier
    return f'{data}; initial weights trained on {earlier}' if earlier else data


@contextmanager
def _interrupt_told(trainer: lightning.Trainer, out: Path) -> Iterator[None]:
    """Re-raise a KeyboardInterrupt with a text that says at which step, and how to continue."""
    try:
        yield
    except KeyboardInterrupt as error:
        last = out / LAST_NAME
        left = f'continue with --resume {last}' if last.exists() else 'nothing was saved yet'
        text = f'interrupted at step {trainer.global_step}; {left}'
        raise KeyboardInterrupt(text) from error


def _say_what_does_not_validate(found: Sequence[FoundSource]) -> None:
    without = [source.name for source in found if not source.val]
    if len(without) == len(found):
        rank_zero_info(
            'train: no data set has validation frames: there will be no IoU and no pictures, the '
            'latest network counts as the best, and --patience has no effect; raise '
            '--val-fraction or give --hold-out'
        )
    elif without:
        rank_zero_info(f'train: without validation frames: {", ".join(without)}')


def fit(
    trainer: lightning.Trainer,
    training: RoadTraining,
    data: RoadData,
    options: TrainingOptions,
) -> None:
    """Run the trainer.

    Raises:
        TrainingError: the loss is not finite, disk or memory is full, or a frame can no longer be
            read.
        KeyboardInterrupt: a signal ended the training.
    """
    # Absolute: Lightning mistakes some relative paths for URLs.
    resume = options.resume and options.resume.absolute()
    try:
        trainer.fit(training, datamodule=data, ckpt_path=resume)
    except SystemExit as error:
        # Lightning's own answer to a signal.
        raise KeyboardInterrupt from error
    except torch.cuda.OutOfMemoryError as error:
        raise TrainingError(f'{error}; lower --batch or --crop') from error
    except DatasetError as error:
        # The text begins with the traceback of the worker process; its last line is the error.
        *_, last_line = str(error).splitlines()
        raise TrainingError(last_line.partition('DatasetError: ')[2] or last_line) from error
    except MisconfigurationException as error:
        raise TrainingError(str(error)) from error
    except OSError as error:
        # `WholeCheckpoints` reports a full disk for checkpoints, but not for metrics and pictures.
        if error.errno != errno.ENOSPC:
            raise
        raise full_disk_error(options.out, options.out, error) from error


def write_checkpoint(
    options: TrainingOptions,
    training: RoadTraining,
    sources: Sequence[Source],
    calibrate: Calibrate,
) -> dict[str, dict[str, float]]:
    """Write the network of best.ckpt to CHECKPOINT_NAME with its metrics; return the metrics."""
    best = read_run_checkpoint(options.out / BEST_NAME)
    training.load_state_dict(best['state_dict'])
    metrics = {name: {'iou': round(iou, 4)} for name, iou in best[VAL_IOU_KEY].items()}
    checkpoint = Checkpoint(
        rescale_norms(fold_batch_norm(training.net)),
        training.recipe.input_rule,
        training.threshold,
        provenance=Provenance(training.training_data, options.licence, metrics),
    )
    calibrated = calibrate(checkpoint, list(sample_frames(sources)))
    with atomic_write(options.out / CHECKPOINT_NAME) as part:
        save_checkpoint(calibrated, part, torch.float16)
        # Read it and run the network, as the node will.
        load_checkpoint(part)
    return metrics


def sample_frames(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """Yield (H, W, 3) uint8 RGB training frames, the same number from each source."""
    for source in sources:
        indices = range(len(source.train))
        for index in evenly_spaced(indices, FRAME_COUNT // len(sources) or 1):
            frame, _ = source.train[index]
            yield frame.permute(1, 2, 0).contiguous().numpy()
