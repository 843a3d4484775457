"""Loads and warms up the network in a thread, so that a signal need not wait for that."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fcn_road_seg.messages.one_line import one_line
from fcn_road_seg.ros.node_parameters import NodeParameters

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter

POLL_S = 0.1
# The licence in a checkpoint may be of any length.
MAX_LICENCE_CHARACTERS = 200


@dataclass(frozen=True)
class LoadedModel:
    """A segmenter, with the threshold of its checkpoint."""

    segmenter: RoadSegmenter
    checkpoint_threshold: float

    def apply(self, parameters: NodeParameters) -> None:
        """Apply the parameters that may change while the node runs."""
        self.segmenter.threshold = parameters.threshold or self.checkpoint_threshold
        self.segmenter.min_region = parameters.min_region
        r, g, b = parameters.overlay_color
        self.segmenter.overlay_style = replace(
            self.segmenter.overlay_style, color_rgb=(r, g, b), alpha=parameters.overlay_alpha
        )


def load_in_background(parameters: NodeParameters, logger: Any) -> Future[LoadedModel]:
    """Start loading in a daemon thread; the future is done when loading has ended."""
    loading: Future[LoadedModel] = Future()

    def run() -> None:
        try:
            loading.set_result(load_model(parameters, logger))
        except Exception as error:  # Raised again by wait_for_model, whose caller reports it.
            loading.set_exception(error)

    threading.Thread(target=run, name='loader', daemon=True).start()
    return loading


def wait_for_model(loading: Future[LoadedModel], is_cancelled: Callable[[], bool]) -> LoadedModel:
    """Wait for the loaded model and return it.

    Raises:
        CancelledError: `is_cancelled` became true in the meantime; the loading goes on.
        Exception: what loading raised.
    """
    while True:
        if is_cancelled():
            raise CancelledError
        # Wait on the future, not on a SimpleQueue: in CPython, a signal may make the queue's get
        # wait forever, in spite of its timeout.
        wait([loading], timeout=POLL_S)
        if loading.done():
            return loading.result()


def load_model(parameters: NodeParameters, logger: Any) -> LoadedModel:
    """Load the network, move it to its device and segment a first frame.

    Raises:
        CheckpointError, SegmenterError, ValueError: as RoadSegmenter does.
    """
    # Imported in the loader's thread: for a GPU, a segmenter imports PyTorch, which takes seconds.
    from fcn_road_seg.inference.cpu_threads import limit_cpu_threads
    from fcn_road_seg.inference.segmenter import RoadSegmenter
    from fcn_road_seg.model.shipped_checkpoints import DEFAULT, checkpoint_path

    began_s = time.monotonic()
    # No shell expands the ~ of checkpoint:=~/my.safetensors.
    path = checkpoint_path(os.path.expanduser(parameters.checkpoint))
    logger.info(f'loading {path}')
    limit_cpu_threads(parameters.num_threads)
    segmenter = RoadSegmenter(
        path,
        parameters.device,
        parameters.precision,
        input_hw=parameters.input_hw,
        backend=parameters.backend,
        roi_top=parameters.roi_top,
    )
    model = LoadedModel(segmenter, segmenter.threshold)
    model.apply(parameters)
    text = (
        f'{path} ({segmenter.checkpoint_sha256[:12]}) '
        f'on {segmenter.device}, {segmenter.precision}, {segmenter.backend}'
    )
    if parameters.device == 'auto' and segmenter.device.type == 'cpu':
        logger.warning(f'{text}: no usable GPU, so the network runs on the CPU')
    else:
        logger.info(text)
    licence = one_line(segmenter.licence, MAX_LICENCE_CHARACTERS)
    logger.info(f'licence of its training data: {licence}')
    logger.info(f'precision {segmenter.precision}: {segmenter.precision_reason}')
    if advice := segmenter.advice():
        logger.info(f'faster here: {advice}')
    is_slow = segmenter.device.type == 'cpu' and segmenter.precision == 'float32'
    if is_slow and parameters.checkpoint == DEFAULT:
        logger.info('faster here: checkpoint lite, about a tenth of the time')
    loaded_s = time.monotonic()
    segmenter.warm_up()
    logger.info(
        f'loaded in {loaded_s - began_s:.1f} s, warmed up in {time.monotonic() - loaded_s:.1f} s'
    )
    return model
