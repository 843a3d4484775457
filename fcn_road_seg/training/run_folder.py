"""The files of a training run: which belong together, and what is read back from them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.training.errors import TrainingError
from fcn_road_seg.training.options import TrainingOptions
from fcn_road_seg.utils.atomic_write import refuse_unwritable_folder, remove_unfinished

LAST_NAME, BEST_NAME = 'last.ckpt', 'best.ckpt'
CHECKPOINT_NAME = 'road_fcn.safetensors'
CURVES_NAME, PREDICTIONS_NAME = 'curves.png', 'predictions.png'
# The key in a Lightning checkpoint for the IoU of its weights by source.
VAL_IOU_KEY = 'val_iou_by_source'
# And for its network's skip scales, which no tensor tells.
SKIP_SCALES_KEY = 'skip_scales'
# And for the data that its network has learnt from (`Provenance.training_data`).
TRAINING_DATA_KEY = 'training_data'
# Lightning's key for the current weights, if it writes their average in place of the weights.
_CURRENT_WEIGHTS_KEY = 'current_model_state'


def full_disk_error(path: Path, out: Path, error: Exception) -> TrainingError:
    """Return the error of a run in `out` that could not write `path`, with the remedy."""
    last = out / LAST_NAME
    remedy = f'continue with --resume {last}' if last.exists() else f'start again{_elsewhere(out)}'
    return TrainingError(
        f'{path} cannot be written ({error}); earlier files are intact. Free some space '
        f'and {remedy}'
    )


def _elsewhere(out: Path) -> str:
    """Return ' with another --out' if a new run may not use `out`, because of its network.

    A run whose first best.ckpt is written, but not its last.ckpt (a kill, a full disk), leaves a
    network and nothing to continue.
    """
    has_network = any((out / name).exists() for name in (BEST_NAME, CHECKPOINT_NAME))
    return ' with another --out' if has_network else ''


def check_run_folder(out: Path, resume: Path | None) -> None:
    """Check that a run may write to `out` and, unless it is None, continue `resume`.

    If the run is continued, files that it left unfinished when it was killed are removed.

    Raises:
        ValueError: `out` holds another run, whose files would be lost, or cannot be written to.
    """
    _refuse_odd_path(out)
    last = out / LAST_NAME
    if resume is not None:
        if not resume.is_file():
            found = f'use --resume {last}'
            if not last.is_file():
                found = f'start the run without --resume{_elsewhere(out)}'
            raise ValueError(f'--resume {resume} does not exist; {found}')
        if resume.parent.resolve() != out.resolve():
            raise ValueError(
                f'--resume {resume} is not from the run in --out {out}; continue it with '
                f'--out {resume.parent}'
            )
    else:
        for name in (LAST_NAME, BEST_NAME, CHECKPOINT_NAME):
            if (out / name).exists():
                go_on = f'continue it with --resume {last}, or ' if last.exists() else ''
                raise ValueError(f'{out} holds another run ({name}); {go_on}use another --out')
    refuse_unwritable_folder(out)
    if resume is not None:
        for name in (LAST_NAME, BEST_NAME, CHECKPOINT_NAME, CURVES_NAME, PREDICTIONS_NAME):
            remove_unfinished(out / name)


def _refuse_odd_path(out: Path) -> None:
    """Raise ValueError for a path for which Lightning or TensorBoard would write elsewhere."""
    text = str(out.absolute())
    if '::' in text or os.path.expandvars(text) != text:
        raise ValueError(
            f'--out {out} has an environment variable or :: in its path; use another folder'
        )
    if os.fsencode(text).decode(errors='replace') != text:
        raise ValueError(f'--out {out} is not UTF-8; use another folder')


def check_resumed_run(options: TrainingOptions, net: RoadFCN, has_average: bool) -> str:
    """Check that `options.resume` fits these options, `net` and the use of a weight average.

    Return the data that its network has learnt from; '' if the file is older than this entry.

    Raises:
        ValueError: it is not a checkpoint of a run, or its run had other options.
    """
    path = options.resume
    assert path is not None
    # Only shapes are needed: the tensors stay on the disk.
    saved = read_run_checkpoint(path, 'meta')
    shapes = {name: tensor.shape for name, tensor in net.state_dict(prefix='net.').items()}
    saved_shapes = {k: v.shape for k, v in saved['state_dict'].items() if k.startswith('net.')}
    if shapes != saved_shapes:
        raise ValueError(
            f'--resume {path} has another network; give the --encoder, --fcn, --width, --overlap '
            'and --context of its run'
        )
    refuse_other_skip_scales(f'--resume {path}', saved.get(SKIP_SCALES_KEY), net)
    if (_CURRENT_WEIGHTS_KEY in saved) != has_average:
        piece = 'without ema' if has_average else 'with ema'
        raise ValueError(f'--resume {path} was trained {piece}; give the options of its run')
    step, val_every = saved['global_step'], saved['global_step'] // (saved['epoch'] + 1)
    if val_every != options.val_every:
        raise ValueError(f'--resume {path} needs --val-every {val_every}, as in its run')
    if step > options.steps and step - options.steps >= val_every:
        raise ValueError(
            f'--resume {path} is at step {step}, beyond --steps {options.steps}; give more steps'
        )
    best_score(path.parent)
    return saved.get(TRAINING_DATA_KEY, '')


def refuse_other_skip_scales(name: str, scales: tuple[float, ...] | None, net: RoadFCN) -> None:
    """Check that `net` has the skip scales of the weights called `name`; None if unknown.

    Raises:
        ValueError: it has others.
    """
    if scales not in (None, net.config.skip_scales):
        raise ValueError(
            f'{name} was trained with other skip scales; '
            f'give --skip-scales {" ".join(map(str, scales or ()))}'
        )


def read_run_checkpoint(path: Path, device: str = 'cpu') -> dict[str, Any]:
    """Return the content of a run's .ckpt file with its tensors on `device`; meta reads none.

    Raises:
        ValueError: the file is damaged, or not a checkpoint of a run.
    """
    try:
        # An open file: by their names, PyTorch would mistake some files for another kind.
        with path.open('rb') as file:
            content = torch.load(file, map_location=device, weights_only=True)
        if content['state_dict'] and content['optimizer_states'] and content['global_step']:
            return content
        reason = 'it is incomplete'
    except pickle.UnpicklingError:
        reason = 'it is another kind of file, or damaged'
    except Exception as error:  # any file, whose bytes make PyTorch raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise ValueError(f'{path} is not a checkpoint of a run ({reason}); give its last.ckpt')


def mean_iou(iou_by_source: Mapping[str, float]) -> float:
    """Return the score by which checkpoints are compared; there must be at least one source."""
    return sum(iou_by_source.values()) / len(iou_by_source)


def best_score(out: Path) -> float | None:
    """Return `mean_iou` of the best checkpoint in `out`; None if there is no file or no IoU in it.

    Raises:
        ValueError: the file is damaged.
    """
    path = out / BEST_NAME
    if not path.exists():
        return None
    iou_by_source = read_run_checkpoint(path, 'meta').get(VAL_IOU_KEY)
    return mean_iou(iou_by_source) if iou_by_source else None
