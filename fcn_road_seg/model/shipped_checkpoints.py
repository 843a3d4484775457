"""The checkpoints that ship with the package, each known by a short name."""

from __future__ import annotations

from pathlib import Path

from fcn_road_seg.model.checkpoint_file import CheckpointError

DEFAULT, LITE = '', 'lite'
FILE_NAMES = {DEFAULT: 'road_fcn8.safetensors', LITE: 'road_fcn8_lite.safetensors'}


def checkpoint_path(checkpoint: str | Path) -> Path:
    """Return the path of a checkpoint file, or of the shipped checkpoint of that name.

    A string that is a key of FILE_NAMES is a name, even if there is a file of that name: use
    `./lite` for the file. A `Path` is always a file, which need not exist.

    Shipped checkpoints are in `share/fcn_road_seg/weights` under the prefix of a colcon or pip
    installation, and in `resource/weights` of a checkout (an editable or symlink installation).

    Raises:
        CheckpointError: the package was installed without the checkpoint of that name.
    """
    if isinstance(checkpoint, Path) or checkpoint not in FILE_NAMES:
        return Path(checkpoint)
    file_name = FILE_NAMES[checkpoint]
    module = Path(__file__)
    # In an editable installation, a link's target is near the weights; if every file is a link, as
    # with `uv pip install --link-mode symlink`, the link itself is.
    for parent in (*module.resolve().parents, *module.absolute().parents):
        for folder in ('share/fcn_road_seg/weights', 'resource/weights'):
            if (parent / folder / file_name).is_file():
                return parent / folder / file_name
    raise CheckpointError(
        f'the {checkpoint or "default"} checkpoint {file_name} is not installed; give another '
        'with `checkpoint`'
    )


def default_checkpoint_path() -> Path:
    """Return the path of the checkpoint that is used if no other is given.

    Raises:
        CheckpointError: the package was installed without its weights.
    """
    return checkpoint_path(DEFAULT)
