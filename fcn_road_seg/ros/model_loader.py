"""load and warm up off the executor"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter

LOADER_POLL_S = 0.1


def _loaded(values: dict[str, Any], logger: Any) -> tuple[RoadSegmenter, Sequence[str]]:
    # PyTorch takes seconds to import: not before the parameters are known to be right.
    from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
    from fcn_road_seg.inference.segmenter import RoadSegmenter
    from fcn_road_seg.model.checkpoint import CLASS_NAMES, default_checkpoint_path

    began_s = time.monotonic()
    size = values['input_height'], values['input_width']
    # No shell expands the ~ of checkpoint:=~/my.safetensors.
    checkpoint_path = os.path.expanduser(values['checkpoint']) or default_checkpoint_path()
    limit_cpu_threads(values['num_threads'])
    segmenter = RoadSegmenter(
        checkpoint_path,
        values['device'],
        values['precision'],
        input_hw=size if all(size) else None,
        backend=values['backend'],
        roi_top=values['roi_top'],
    )
    text = (
        f'{checkpoint_path} ({segmenter.checkpoint_sha256[:12]}) '
        f'on {segmenter.device}, {segmenter.precision}, {segmenter.backend}'
    )
    if values['device'] == 'auto' and segmenter.device.type == 'cpu':
        logger.warning(f'{text}: no GPU is usable, so the CPU computes')
    else:
        logger.info(text)
    if advice := segmenter.advice():
        logger.info(f'faster here: {advice}')
    loaded_s = time.monotonic()
    segmenter.warm_up()
    logger.info(
        f'loaded in {loaded_s - began_s:.1f} s, warmed up in {time.monotonic() - loaded_s:.1f} s'
    )
    return segmenter, CLASS_NAMES
