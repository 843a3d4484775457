"""The network on a CPU, by ncnn: float32, with Winograd's convolutions."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import ncnn
import numpy as np

from fcn_road_seg.inference.backends.ncnn_graph import GRAPH_VERSION, INPUT, OUTPUT, NcnnGraph
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.utils.atomic_write import atomic_write

SUFFIX = '.ncnn.bin'
# Of 60 MB each: measuring the checkpoints of a training must not fill a disk.
KEPT_FILES = 4
DIGEST_BYTES = hashlib.sha256().digest_size


class NcnnError(RuntimeError):
    """ncnn refuses the network, or cannot run it."""


class NcnnNetwork:
    """A folded network, in float32, on `num_threads` threads.

    Its weights in ncnn's form are kept in `cache_folder`, if the checkpoint has a hash; a file
    there that is damaged is written again.

    Raises:
        NcnnError: this version of ncnn does not take the network.
    """

    backend = f'ncnn {ncnn.__version__}'

    def __init__(self, model: RoadFCN, checkpoint_sha256: str, num_threads: int) -> None:
        table = model.normalise_table().numpy()
        self._normalise_luts = [np.ascontiguousarray(table[..., c]) for c in range(3)]
        self._input_chw = np.empty((3, 0, 0), np.float32)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = num_threads
        # The reference is float32's mask; and of Winograd's tiles, 8 x 8 lose digits.
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        options.use_winograd63_convolution = False
        graph = NcnnGraph(model)
        if self._net.load_param_mem(graph.text()):
            raise NcnnError(f'{self.backend} does not read the network; try another version')
        # The hash covers the tensors alone: under another configuration, it is another network.
        key = f'{GRAPH_VERSION} {checkpoint_sha256} {model.config}' if checkpoint_sha256 else ''
        with _weights_file(graph, key) as path:
            if self._net.load_model(str(path)):
                raise NcnnError(f'{self.backend} does not read the weights; try another version')

    def road_logit(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Return the logit of p(road), (H, W) float32, for (H, W, 3) uint8 RGB.

        Raises:
            NcnnError: the memory is not enough.
        """
        if self._input_chw.shape[1:] != frame_rgb.shape[:2]:
            self._input_chw = np.empty((3, *frame_rgb.shape[:2]), np.float32)
        for channel, lut in enumerate(self._normalise_luts):
            cv2.LUT(frame_rgb[..., channel], lut, dst=self._input_chw[channel])
        extractor = self._net.create_extractor()
        extractor.input(INPUT, ncnn.Mat(self._input_chw))
        status, logit = extractor.extract(OUTPUT)
        if status:
            raise NcnnError(f'{self.backend} cannot run the network (status {status})')
        return np.array(logit)[0]


def cache_folder() -> Path:
    """Return where the user's caches lie, by the XDG base directory specification."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'fcn_road_seg'


@contextmanager
def _weights_file(graph: NcnnGraph, key: str) -> Iterator[Path]:
    """Give a file with the graph's weights: the cache's, or one for the moment."""
    cached = _cached(graph, key) if key else None
    if cached is not None:
        yield cached
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f'weights{SUFFIX}'
        _write(graph, path)
        yield path


def _cached(graph: NcnnGraph, key: str) -> Path | None:
    path = cache_folder() / f'{hashlib.sha256(key.encode()).hexdigest()[:32]}{SUFFIX}'
    try:
        if not _is_whole(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                _write(graph, part)
            # Not this one, whatever the clock of a machine that has just booted says.
            others = (p for p in path.parent.glob(f'*{SUFFIX}') if p != path)
            newest_first = sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)
            for old in newest_first[KEPT_FILES - 1 :]:
                old.unlink(missing_ok=True)
        return path
    except OSError:
        # No home, or none that can be written to: the network needs none.
        return None


def _write(graph: NcnnGraph, path: Path) -> None:
    """Write the weights, and behind them, where ncnn reads no more, their SHA-256."""
    digest = hashlib.sha256()
    with path.open('wb') as file:
        for piece in graph.weights():
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    weights, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    return hashlib.sha256(weights).digest() == digest
