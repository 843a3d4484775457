import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import default_checkpoint_path, load_checkpoint
from fcn_road_seg.model.road_fcn import RoadFCNConfig, fold_batch_norm
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.reference import (
    INPUT_SIZES_HW,
    NETWORKS,
    ReferenceNetwork,
    assert_logit_is_that_of_the_network,
    model_of,
)

pytest.importorskip('ncnn', reason='ncnn is not installed')

from fcn_road_seg.inference.backends.ncnn_backend import KEPT_FILES, NcnnNetwork, cache_folder

FRAMES = Path(__file__).parents[4] / 'shared/data'


@pytest.mark.parametrize('hw', INPUT_SIZES_HW)
@pytest.mark.parametrize('config', NETWORKS)
def test_logit_is_that_of_the_network(config, hw):
    assert_logit_is_that_of_the_network(
        lambda model: NcnnNetwork(model, '', num_threads=2), RoadFCNConfig(*config), hw
    )


def assert_masks_agree(frames_bgr):
    """Compare with the reference forward: one pixel in 100,000 may differ, and by rounding."""
    checkpoint = load_checkpoint(default_checkpoint_path())
    segmenter = RoadSegmenter(checkpoint, device='cpu', backend='ncnn')
    reference = RoadSegmenter(checkpoint, device='cpu', backend='torch')
    reference._pipeline = CpuPipeline(ReferenceNetwork(checkpoint.model))
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
    paths = sorted(FRAMES.glob('kitti_road_*/training/image_2/*'))[::20]
    assert len(paths) >= 3
    assert_masks_agree([cv2.imread(str(path)) for path in paths])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'fcn_road_seg'


@pytest.fixture(scope='module')
def model():
    return model_of(RoadFCNConfig())


def logit_of(model, key):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
    return NcnnNetwork(model, key, num_threads=1).road_logit(frame_rgb)


def test_cache_lies_where_the_user_has_caches(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/var/cache/me')
    assert cache_folder() == Path('/var/cache/me/fcn_road_seg')
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', '/home/me')
    assert cache_folder() == Path('/home/me/.cache/fcn_road_seg')


def test_weights_are_kept_and_read_again(cache, model):
    first = logit_of(model, 'abc')
    (kept,) = cache.iterdir()
    written_ns = kept.stat().st_mtime_ns
    assert np.array_equal(logit_of(model, 'abc'), first)
    assert list(cache.iterdir()) == [kept]
    assert kept.stat().st_mtime_ns == written_ns


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: content[: len(content) // 2],
        lambda content: b'',
        lambda content: content[:1000] + bytes([content[1000] ^ 1]) + content[1001:],
    ],
    ids=['cut off', 'empty', 'one bit'],
)
def test_damaged_weights_are_written_again(cache, model, damage):
    expected = logit_of(model, 'abc')
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(damage(content))
    assert np.array_equal(logit_of(model, 'abc'), expected)
    assert kept.read_bytes() == content


def test_other_configuration_of_the_same_tensors_has_weights_of_its_own(cache, model):
    scaled = fold_batch_norm(model)
    scaled.config = replace(model.config, skip_scales=(0.5, 0.5))
    scaled.decoder.skip_scales = (0.5, 0.5)
    assert not np.allclose(logit_of(model, 'abc'), logit_of(scaled, 'abc'))
    assert len(list(cache.iterdir())) == 2


def test_checkpoint_that_was_never_saved_keeps_no_weights(cache, model):
    logit_of(model, '')
    assert not cache.exists()


def test_cache_that_cannot_be_written_is_done_without(cache, model):
    cache.parent.write_text('a file where the folder should be')
    assert np.array_equal(logit_of(model, 'abc'), logit_of(model, ''))


def test_cache_keeps_the_newest_few_weights(cache, model):
    in_order = []
    for i in range(KEPT_FILES + 2):
        logit_of(model, f'checkpoint {i}')
        (new,) = set(cache.iterdir()) - set(in_order)
        os.utime(new, (1e9 + i, 1e9 + i))
        in_order.append(new)
    assert set(cache.iterdir()) == set(in_order[-KEPT_FILES:])


def test_weights_written_by_a_clock_that_is_behind_are_kept(cache, model):
    for i in range(KEPT_FILES):
        logit_of(model, f'checkpoint {i}')
    for path in cache.iterdir():
        os.utime(path, (4e9, 4e9))
    before = set(cache.iterdir())
    logit_of(model, 'now')
    assert len(before - set(cache.iterdir())) == 1
    assert len(list(cache.iterdir())) == KEPT_FILES


def test_several_that_start_together_share_whole_weights(cache, model):
    # As two cameras' nodes do at a vehicle's start.
    with ThreadPoolExecutor(4) as threads:
        logits = list(threads.map(lambda _: logit_of(model, 'abc'), range(4)))
    assert all(np.array_equal(logit, logits[0]) for logit in logits)
    assert len(list(cache.iterdir())) == 1
