"""CVAT's format *Segmentation mask 1.1*, which CVAT imports and exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fcn_road_seg.datasets.label_folder import LabelFolder
from fcn_road_seg.datasets.voc import ROAD_CLASS
from fcn_road_seg.utils.picture import encode_png

# Cityscapes' colour for road (RGB); CVAT takes black for background.
ROAD_RGB = (128, 64, 128)
_LABEL_MAP = (
    '# label:color_rgb:parts:actions\n'
    f'background:0,0,0::\n{ROAD_CLASS}:{",".join(map(str, ROAD_RGB))}::\n'
)
# The first instance's colour in VOC's palette (RGB). Without any instance, the background would
# become one.
_INSTANCE_RGB = (128, 0, 0)
_MASKS, _INSTANCES = 'SegmentationClass', 'SegmentationObject'
_LIST = 'ImageSets/Segmentation/default.txt'


class VocFolder(LabelFolder):
    """A folder that `find_voc_frames` reads; its masks are coloured PNGs."""

    images = 'JPEGImages'

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root, name)
        for folder in (_MASKS, _INSTANCES):
            (root / folder).mkdir()

    def add_mask(self, file_name: str, mask: np.ndarray) -> None:
        """Write the mask in the colour of its class, and as one instance."""
        for folder, rgb in ((_MASKS, ROAD_RGB), (_INSTANCES, _INSTANCE_RGB)):
            mask_rgb = (mask > 0)[..., None] * np.array(rgb, np.uint8)
            path = self.root / folder / file_name
            path.with_suffix('.png').write_bytes(encode_png(mask_rgb[..., ::-1]))

    def finish(self) -> None:
        """Write the label map and the list of the frames."""
        (self.root / 'labelmap.txt').write_text(_LABEL_MAP)
        (self.root / _LIST).parent.mkdir(parents=True)
        (self.root / _LIST).write_text(''.join(f'{stem}\n' for stem in self.stems))
