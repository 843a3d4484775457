import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import load_checkpoint
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.reference import (
    NETWORKS,
    ReferenceBackend,
    assert_logit_is_that_of_the_network,
    model_of,
)

pytest.importorskip('ncnn', reason='ncnn is not installed')

from fcn_road_seg.inference.backends.ncnn_backend import NcnnBackend

FRAMES = Path(__file__).parents[4] / 'shared/data'


@pytest.mark.parametrize('config', NETWORKS)
def test_logit_is_that_of_the_network(config):
    assert_logit_is_that_of_the_network(
        lambda weights: NcnnBackend(weights, num_threads=2), config
    )


def assert_masks_agree(frames_bgr):
    """Compare with the reference forward: one pixel in 100,000 may differ, and by rounding."""
    checkpoint = load_checkpoint(default_checkpoint_path())
    segmenter = RoadSegmenter(checkpoint, device='cpu', backend='ncnn')
    reference = RoadSegmenter(checkpoint, device='cpu', backend='torch')
    reference._pipeline = CpuPipeline(ReferenceBackend(checkpoint.model))
    differing = pixels = 0
    for frame_bgr in frames_bgr:
        found, expected = segmenter(frame_bgr), reference(frame_bgr)
        assert 0.05 < np.mean(expected.mask == 255) < 0.9
        differing += np.count_nonzero(found.mask != expected.mask)
        pixels += found.mask.size
        scores, expected_scores = (
            s._pipeline._network.road_logit(cv2.resize(frame_bgr, (512, 160)))
            for s in (segmenter, reference)
        )
        assert np.abs(scores - expected_scores).max() < 1e-3
    assert differing <= pixels / 100_000


def test_masks_of_rendered_frames_are_those_of_the_reference_forward():
    drive = SyntheticDrive(seed=3)
    assert_masks_agree([drive.render(t_s)[0] for t_s in (0.0, 9.0)])


@pytest.mark.skipif(not FRAMES.is_dir(), reason=f'no real frames in {FRAMES}')
def test_masks_of_real_frames_are_those_of_the_reference_forward():
    paths = sorted(FRAMES.glob('kitti_road_*/training/image_2/*'))[::40]
    assert len(paths) >= 3
    assert_masks_agree([cv2.imread(str(path)) for path in paths])


def test_threads_that_start_together_have_the_same_weights():
    # As the nodes of two cameras do when a vehicle starts.
    weights = model_of(RoadFCNConfig(width=0.25)).weights()
    frame_rgb = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)

    def run(_):
        return NcnnBackend(weights, 1).road_logit(frame_rgb)

    with ThreadPoolExecutor(4) as threads:
        logits = list(threads.map(run, range(4)))
    assert all(np.array_equal(logit, logits[0]) for logit in logits)


def test_weights_leave_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    NcnnBackend(model_of(RoadFCNConfig(width=0.25)).weights(), 1)
    assert not list(tmp_path.iterdir())
