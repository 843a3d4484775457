"""Label Studio's JSON with brush masks: writes tasks to import, and reads its export."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from fcn_road_seg.datasets.frames import DatasetError, LabelledFrame, read_image
from fcn_road_seg.datasets.image_mask import plain_label
from fcn_road_seg.datasets.label_folder import LabelFolder
from fcn_road_seg.datasets.label_rle import decode_mask, encode_mask
from fcn_road_seg.utils.picture import check_size

ROAD_LABEL = 'road'
_CONFIG_NAME, _TASKS_NAME, _EXPORT_NAME = 'label_config.xml', 'tasks.json', 'labels.json'
_CONFIG = f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="label" toName="image">
    <Label value="{ROAD_LABEL}" background="#804080"/>
  </BrushLabels>
</View>
"""


class LabelStudioFolder(LabelFolder):
    """A folder with tasks for Label Studio, in which the masks are predictions to correct.

    The tasks refer to the frames as *local files* in a storage whose root contains this folder.
    """

    images = 'images'

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, name)
        self._tasks: list[dict[str, Any]] = []

    def add_mask(self, file_name: str, mask: np.ndarray) -> None:
        """Add a task; a mask without road has no region."""
        h, w = mask.shape
        region = {
            'id': f'road{len(self._tasks)}',
            'type': 'brushlabels',
            'from_name': 'label',
            'to_name': 'image',
            'original_width': w,
            'original_height': h,
            'image_rotation': 0,
            'value': {
                'format': 'rle',
                'rle': list(encode_mask(mask)),
                'brushlabels': [ROAD_LABEL],
            },
        }
        prediction = {'model_version': 'fcn_road_seg', 'result': [region] if mask.any() else []}
        image = f'/data/local-files/?d={quote(self.name)}/{self.images}/{file_name}'
        self._tasks.append({'data': {'image': image}, 'predictions': [prediction]})

    def finish(self) -> None:
        """Write the tasks and the configuration of the labelling interface."""
        (self.root / _TASKS_NAME).write_text(json.dumps(self._tasks))
        (self.root / _CONFIG_NAME).write_text(_CONFIG)


@dataclass(frozen=True)
class LabelStudioFrame(LabelledFrame):
    """A frame with masks that a person drew, run-length encoded; the union of `rles` is road."""

    rles: tuple[bytes, ...] = ()
    label_hw: tuple[int, int] = (0, 0)

    def load_raw_label(self) -> np.ndarray:
        """Return the mask, (H, W) uint8, 0 or 255.

        Raises:
            DatasetError: a mask is damaged.
        """
        mask = np.zeros(self.label_hw, np.uint8)
        for rle in self.rles:
            try:
                mask |= decode_mask(rle, self.label_hw)
            except ValueError as error:
                raise DatasetError(f'{self.frame_path}: its label is damaged ({error})') from error
        return mask


def is_label_studio(root: Path) -> bool:
    """Return whether `root` is a `LabelStudioFolder`."""
    return (root / _CONFIG_NAME).is_file() and (root / LabelStudioFolder.images).is_dir()


def find_label_studio_frames(root: Path) -> list[LabelledFrame]:
    """Return the frames with an annotation that was not skipped; of several, the last one counts.

    Raises:
        DatasetError: there is no export, it is not from Label Studio, a frame is not in this
            folder, or a region is not a brush mask with the label ROAD_LABEL.
    """
    export = root / _EXPORT_NAME
    if not export.is_file():
        raise DatasetError(
            f'{export} does not exist; export the labels from Label Studio as JSON to that file'
        )
    try:
        tasks = json.loads(export.read_bytes())
        frames = [_read_task(task, root) for task in tasks]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f'{export} is not an export of Label Studio as JSON ({error!r}); export it again'
        ) from error
    return sorted(filter(None, frames), key=lambda frame: frame.frame_path)


def _read_task(task: dict[str, Any], root: Path) -> LabelStudioFrame | None:
    done = [a for a in task['annotations'] if not a.get('was_cancelled')]
    if not done:
        return None
    path = _frame_path(task['data']['image'], root)
    rles: list[bytes] = []
    label_hw = None
    for region in done[-1]['result']:
        if region['type'] != 'brushlabels' or region['value']['brushlabels'] != [ROAD_LABEL]:
            raise DatasetError(
                f'{root / _EXPORT_NAME} has a region of type {region["type"]} for {path.name}; '
                f'only brush masks with the label {ROAD_LABEL} can be read'
            )
        label_hw = h, w = region['original_height'], region['original_width']
        rle = region['value']['rle']
        # From a number, `bytes` would make as many zeros.
        if not (type(h) is type(w) is int and isinstance(rle, list)):
            raise TypeError('a region has no size or no list of run lengths')
        check_size(w, h)
        rles.append(bytes(rle))
    if label_hw is None:
        # Nothing is road, and without regions, only the frame's file tells the size.
        label_hw = read_image(path).shape[:2]
    # The frame's file also serves as the label file, as the export has the labels of many frames.
    return LabelStudioFrame(path, path, plain_label, rles=tuple(rles), label_hw=label_hw)


def _frame_path(address: str, root: Path) -> Path:
    """Return a frame's file by its URL; an upload puts 8 hex digits and '-' before its name."""
    name = unquote(address).rpartition('/')[2]
    images = root / LabelStudioFolder.images
    for candidate in (name, re.sub(r'^[0-9a-f]{8}-', '', name)):
        if (images / candidate).is_file():
            return images / candidate
    raise DatasetError(f'{root / _EXPORT_NAME} has {name}, which is not in {images}')
