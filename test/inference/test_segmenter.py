import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg.inference import auto_precision
from fcn_road_seg.inference.cuda_pipeline import CudaPipeline
from fcn_road_seg.inference.interfaces import OverlayStyle
from fcn_road_seg.inference.options import FASTEST_BACKENDS, SegmenterError
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.activation_ranges import measure_activation_ranges
from fcn_road_seg.model.agreement import Agreement
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.utils.cpu_features import has_bfloat16

HAS_GPU = torch.cuda.is_available()


@pytest.fixture(scope='module')
def segmenter(random_checkpoint):
    return RoadSegmenter(random_checkpoint, device='cpu')


@pytest.fixture(scope='module')
def frame():
    coarse = np.random.default_rng(2).integers(0, 256, (9, 13, 3), np.uint8)
    return cv2.resize(coarse, (192, 128), interpolation=cv2.INTER_CUBIC)


def balance(segmenter, frame):
    """Set the threshold so that about half of the frame is road; random weights have a bias."""
    p_road = np.median(segmenter(frame, road_probability=True).road_probability)
    segmenter.threshold = float(np.clip(p_road / 255, 0.01, 0.99))
    return segmenter


def sizes_seen(segmenter):
    """Return the list of what a PyTorch network's input will have been, call by call."""
    seen = []
    segmenter._pipeline._network._model.encoder.register_forward_hook(
        lambda _, inputs, __: seen.append(tuple(inputs[0].shape))
    )
    return seen


def reference_p_road(checkpoint, frame_rgb):
    """Return p(road), (H, W) float32, by the network's own forward at the frame's size."""
    x = torch.from_numpy(frame_rgb).permute(2, 0, 1)[None]
    return checkpoint.model(x)[0, 1].numpy()


@pytest.mark.parametrize('hw', [(1, 1), (37, 211), (375, 1242), (64, 96), (300, 17)])
def test_results_have_the_size_of_any_frame(segmenter, hw):
    result = segmenter(np.zeros((*hw, 3), np.uint8), road_probability=True, overlay=True)
    assert result.mask.shape == result.road_probability.shape == result.confidence.shape == hw
    assert result.overlay_bgr.shape == (*hw, 3)


def test_results_are_uint8(segmenter, frame):
    result = segmenter(frame, road_probability=True, overlay=True)
    for array in (result.mask, result.road_probability, result.confidence, result.overlay_bgr):
        assert array.dtype == np.uint8


def test_mask_is_what_the_reference_forward_gives(random_checkpoint, segmenter):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    p_road = reference_p_road(random_checkpoint, frame_rgb)
    segmenter.threshold = float(np.median(p_road))
    mask = segmenter(frame_rgb, channel_order='rgb').mask
    assert 0.4 < np.mean(mask == 255) < 0.6
    clear = np.abs(p_road - segmenter.threshold) > 1e-5
    assert np.array_equal(mask[clear], np.where(p_road >= segmenter.threshold, 255, 0)[clear])


def test_road_probability_is_what_the_reference_forward_gives(random_checkpoint, segmenter):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    p_road = reference_p_road(random_checkpoint, frame_rgb)
    found = segmenter(frame_rgb, channel_order='rgb', road_probability=True).road_probability
    assert np.abs(found - 255 * p_road).max() < 0.51


def test_network_sees_the_checkpoints_input_size(random_checkpoint):
    rule = InputRule(pixels=64 * 96)
    checkpoint = replace(random_checkpoint, input_rule=rule)
    segmenter = RoadSegmenter(checkpoint, device='cpu', backend='torch')
    seen = sizes_seen(segmenter)
    segmenter(np.zeros((375, 1242, 3), np.uint8))
    assert seen == [(1, 3, *rule.input_hw((375, 1242)))] == [(1, 3, 32, 128)]


def test_input_hw_overrides_the_checkpoints_rule(random_checkpoint):
    segmenter = RoadSegmenter(random_checkpoint, device='cpu', input_hw=(32, 64))
    assert segmenter.input_rule.input_hw((375, 1242)) == (32, 64)


def test_channel_orders_give_the_same_results(segmenter, frame):
    bgr = balance(segmenter, frame)(frame, overlay=True)
    frame_rgb = np.ascontiguousarray(frame[..., ::-1])
    rgb = segmenter(frame_rgb, channel_order='rgb', overlay=True)
    assert np.array_equal(bgr.mask, rgb.mask)
    assert np.array_equal(bgr.overlay_bgr, rgb.overlay_bgr)


def test_padded_rows_give_the_same_results(segmenter, frame):
    padded = np.full((128, 200, 3), 9, np.uint8)
    padded[:, :192] = frame
    expected = segmenter(frame, overlay=True)
    result = segmenter(padded[:, :192], overlay=True)
    assert np.array_equal(result.mask, expected.mask)
    assert np.array_equal(result.overlay_bgr, expected.overlay_bgr)


@pytest.mark.parametrize(
    'in_layout',
    [
        np.asfortranarray,
        lambda frame: np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0),
        lambda frame: np.ascontiguousarray(frame[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
        lambda frame: np.repeat(frame, 2, axis=1)[:, ::2],
    ],
    ids=['columns', 'planes', 'backwards', 'every second pixel'],
)
def test_first_frame_may_lie_in_memory_in_any_way(random_checkpoint, segmenter, frame, in_layout):
    laid_out = in_layout(frame)
    assert not laid_out.flags.c_contiguous
    assert np.array_equal(laid_out, frame)
    balance(segmenter, frame)
    first = RoadSegmenter(random_checkpoint, device='cpu')
    first.threshold, first.overlay_style = segmenter.threshold, segmenter.overlay_style
    found, expected = first(laid_out, overlay=True), segmenter(frame, overlay=True)
    assert np.array_equal(found.mask, expected.mask)
    assert np.array_equal(found.overlay_bgr, expected.overlay_bgr)


def test_frame_is_left_as_it_was(segmenter, frame):
    before = frame.copy()
    frame.flags.writeable = False
    segmenter(frame, overlay=True)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize('threshold', [0.9, 0.5, 0.1])
def test_road_is_where_its_probability_reaches_the_threshold(segmenter, frame, threshold):
    segmenter.threshold = threshold
    result = segmenter(frame, road_probability=True)
    clear = np.abs(result.road_probability / 255 - threshold) > 0.01
    expected = np.where(result.road_probability / 255 >= threshold, 255, 0)
    assert np.array_equal(result.mask[clear], expected[clear])


def test_mask_grows_as_the_threshold_falls(segmenter, frame):
    shares = []
    for threshold in (0.9, 0.5, 0.1):
        segmenter.threshold = threshold
        shares.append(segmenter(frame).mask.mean())
    assert shares == sorted(shares)


def test_mask_is_0_or_255(segmenter, frame):
    assert set(np.unique(balance(segmenter, frame)(frame).mask)) == {0, 255}


@pytest.fixture
def half_red(segmenter, frame):
    """The result with half of the frame as road, painted half in red."""
    balance(segmenter, frame)
    segmenter.overlay_style = OverlayStyle(color_rgb=(255, 0, 0), alpha=0.5)
    result = segmenter(frame, overlay=True)
    assert 0.2 < np.mean(result.mask == 255) < 0.8
    return result


def test_overlay_mixes_its_colour_into_road(half_red, frame):
    road = half_red.mask == 255
    expected = frame[road] * 0.5 + np.array([0, 0, 255]) * 0.5
    assert np.abs(half_red.overlay_bgr[road] - expected).max() <= 0.5


def test_overlay_leaves_background_as_it_is(half_red, frame):
    background = half_red.mask == 0
    assert np.array_equal(half_red.overlay_bgr[background], frame[background])


def test_what_is_not_asked_for_is_not_there(segmenter, frame):
    result = segmenter(frame, confidence=False)
    assert result.road_probability is None
    assert result.confidence is None
    assert result.overlay_bgr is None


def test_results_of_one_frame_survive_the_next(segmenter, frame):
    first = balance(segmenter, frame)(frame, overlay=True)
    kept = [first.mask.copy(), first.confidence.copy(), first.overlay_bgr.copy()]
    segmenter(255 - frame, overlay=True)
    for now, before in zip((first.mask, first.confidence, first.overlay_bgr), kept, strict=True):
        assert np.array_equal(now, before)


def test_batch_norm_checkpoint_runs_folded(random_checkpoint):
    torch.manual_seed(3)
    model = RoadFCN(RoadFCNConfig(encoder='vgg16_bn')).eval()
    checkpoint = replace(random_checkpoint, model=model)
    segmenter = RoadSegmenter(checkpoint, device='cpu', backend='torch')
    assert segmenter._pipeline._network._model.config.encoder == 'vgg16'


@pytest.mark.parametrize('precision', FASTEST_BACKENDS)
def test_no_frame_needs_pytorch_on_a_cpu(random_checkpoint, tmp_path, precision):
    pytest.importorskip(FASTEST_BACKENDS[precision])
    if precision == 'bfloat16' and not has_bfloat16():
        pytest.skip('a CPU without bfloat16')
    path = tmp_path / 'c.safetensors'
    save_checkpoint(replace(random_checkpoint, activation_peaks=(1.0,) * 13), path)
    code = f"""
import sys
import numpy as np
from fcn_road_seg import RoadSegmenter
segment = RoadSegmenter({str(path)!r}, 'cpu', {precision!r})
segment.min_region = 0.01
segment(np.zeros((40, 60, 3), np.uint8), road_probability=True, overlay=True)
print('torch' in sys.modules)
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr


def test_without_a_checkpoint_it_is_the_default_one():
    shipped = load_checkpoint(default_checkpoint_path())
    assert RoadSegmenter(device='cpu').checkpoint_sha256 == shipped.sha256


def test_lite_is_the_light_checkpoint_of_the_package(installed_lite):
    segmenter = RoadSegmenter('lite', 'cpu')
    assert segmenter.checkpoint_sha256 == load_checkpoint(installed_lite).sha256


def test_file_called_lite_is_given_as_a_path(installed_lite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(Checkpoint(RoadFCN(), InputRule(pixels=6144)), 'lite')
    sha256 = load_checkpoint('lite').sha256
    assert sha256 != load_checkpoint(installed_lite).sha256
    assert RoadSegmenter('./lite', 'cpu').checkpoint_sha256 == sha256
    assert RoadSegmenter(Path('lite'), 'cpu').checkpoint_sha256 == sha256


@pytest.fixture
def speckled(random_checkpoint):
    """A segmenter whose mask of `frame` has small regions of road and of background."""
    return RoadSegmenter(random_checkpoint, 'cpu')


def small_regions(mask, share):
    return sum(
        int((stats[1:, cv2.CC_STAT_AREA] < share * mask.size).sum())
        for stats in (cv2.connectedComponentsWithStats(m)[2] for m in (mask, 255 - mask))
    )


@pytest.mark.parametrize('channel_order', ['bgr', 'rgb'])
def test_small_regions_go_from_mask_and_overlay_only(speckled, frame, channel_order):
    balance(speckled, frame)
    asked = {'channel_order': channel_order, 'road_probability': True, 'overlay': True}
    before = speckled(frame, **asked)
    speckled.min_region = 0.02
    after = speckled(frame, **asked)
    assert small_regions(before.mask, 0.02) > small_regions(after.mask, 0.02)
    assert np.array_equal(after.road_probability, before.road_probability)
    same = before.mask == after.mask
    assert np.array_equal(after.overlay_bgr[same], before.overlay_bgr[same])
    frame_bgr = frame if channel_order == 'bgr' else frame[..., ::-1]
    changed = (after.overlay_bgr != frame_bgr).any(axis=2)
    assert np.array_equal(changed[~same], after.mask[~same] == 255)


def test_regions_asked_for_while_the_network_runs_come_with_the_next_frame(
    speckled, frame, monkeypatch
):
    run = speckled._pipeline.run

    def run_while_it_is_set(frame, request):
        segmentation = run(frame, request)
        speckled.min_region = 0.0 if speckled.min_region else 0.02
        return segmentation

    balance(speckled, frame)
    plain = speckled(frame, overlay=True)
    monkeypatch.setattr(speckled._pipeline, 'run', run_while_it_is_set)
    as_before, cleaned = speckled(frame, overlay=True), speckled(frame, overlay=True)
    assert np.array_equal(as_before.mask, plain.mask)
    assert np.array_equal(as_before.overlay_bgr, plain.overlay_bgr)
    assert small_regions(cleaned.mask, 0.02) < small_regions(plain.mask, 0.02)
    assert cleaned.overlay_bgr is not None


def test_regions_stay_unless_asked(speckled, frame):
    assert speckled.min_region == 0
    assert speckled(frame).overlay_bgr is None


def test_auto_is_the_gpu_in_float16_or_the_cpu_in_float32(random_checkpoint):
    agreements = {'float16': Agreement(iou=1.0, pixels_changed=0.0)}
    segmenter = RoadSegmenter(replace(random_checkpoint, agreements=agreements))
    expected = ('cuda', 'float16') if HAS_GPU else ('cpu', 'float32')
    assert (segmenter.device.type, segmenter.precision) == expected


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'device': 'tpu'}, "device 'tpu' is unknown"),
        ({'precision': 'float16'}, "precision 'float16' needs a GPU"),
        ({'backend': 'tensorrt'}, "backend 'tensorrt' is unknown"),
    ],
)
def test_device_precision_or_backend_that_is_not_there_is_refused(
    random_checkpoint, arguments, message
):
    with pytest.raises(SegmenterError, match=message):
        RoadSegmenter(random_checkpoint, **{'device': 'cpu', **arguments})


def test_backend_is_known_by_name_and_version(random_checkpoint):
    backend = RoadSegmenter(random_checkpoint, 'cpu', backend='torch').backend
    assert (backend.name, backend.version) == ('torch', torch.__version__)


@pytest.fixture(scope='module')
def calibrated_checkpoint(random_checkpoint):
    noise = np.random.default_rng(4).integers(0, 256, (64, 96, 3), np.uint8)
    peaks = measure_activation_ranges(random_checkpoint, [noise])
    return replace(random_checkpoint, activation_peaks=peaks)


def test_int8_segments_frames_with_a_calibrated_checkpoint(calibrated_checkpoint, frame):
    pytest.importorskip(
        'fcn_road_seg.inference.backends.openvino_import', reason='openvino is not installed'
    )
    in_int8, in_float32 = (
        RoadSegmenter(calibrated_checkpoint, 'cpu', p) for p in ('int8', 'float32')
    )
    assert in_int8.backend.name == 'openvino'
    assert in_int8.precision == 'int8'
    balance(in_float32, frame)
    in_int8.threshold = in_float32.threshold
    assert np.mean(in_int8(frame).mask == in_float32(frame).mask) > 0.9


def test_int8_with_a_checkpoint_that_is_not_calibrated_is_refused(random_checkpoint):
    with pytest.raises(SegmenterError, match='write one with fcn-road-seg calibrate, or use auto'):
        RoadSegmenter(random_checkpoint, 'cpu', 'int8')


def test_ncnn_is_advised_for_float32_by_torch(random_checkpoint):
    by_torch = RoadSegmenter(random_checkpoint, 'cpu', backend='torch')
    assert by_torch.advice() == 'backend ncnn (pip install ncnn), with the same mask'


def test_openvino_is_advised_for_bfloat16_by_torch(random_checkpoint):
    by_torch = RoadSegmenter(random_checkpoint, 'cpu', 'bfloat16', backend='torch')
    assert by_torch.advice() == 'backend openvino (pip install openvino), with the same rounding'


@pytest.mark.parametrize(
    ('in_hardware', 'advice'),
    [(True, ''), (False, 'precision auto; without VNNI or AMX, int8 is emulated')],
)
def test_auto_is_advised_where_int8_is_emulated(
    calibrated_checkpoint, monkeypatch, in_hardware, advice
):
    pytest.importorskip(
        'fcn_road_seg.inference.backends.openvino_import', reason='openvino is not installed'
    )
    monkeypatch.setattr('fcn_road_seg.inference.segmenter.has_exact_int8', lambda: in_hardware)
    assert RoadSegmenter(calibrated_checkpoint, 'cpu', 'int8').advice() == advice


def test_auto_is_the_precision_that_is_chosen_with_its_reason(calibrated_checkpoint, monkeypatch):
    pytest.importorskip(
        'fcn_road_seg.inference.backends.openvino_import', reason='openvino is not installed'
    )
    monkeypatch.setattr(auto_precision, 'has_exact_int8', lambda: True)
    agreements = {'int8': Agreement(0.9991, 0.0002)}
    segmenter = RoadSegmenter(replace(calibrated_checkpoint, agreements=agreements), 'cpu')
    assert (segmenter.precision, segmenter.backend.name) == ('int8', 'openvino')
    assert segmenter.precision_reason == (
        'the fastest here whose masks agree with those of float32 '
        '(IoU 0.9991, 0.020 % of the pixels differ)'
    )


def test_precision_that_is_asked_for_needs_no_agreement(calibrated_checkpoint):
    segmenter = RoadSegmenter(calibrated_checkpoint, 'cpu', 'float32')
    assert (segmenter.precision, segmenter.precision_reason) == ('float32', 'requested explicitly')


def test_both_backends_give_the_same_mask(random_checkpoint, frame):
    pytest.importorskip('ncnn', reason='ncnn is not installed')
    ncnn, torch_ = (
        RoadSegmenter(random_checkpoint, 'cpu', backend=name) for name in ('ncnn', 'torch')
    )
    balance(ncnn, frame)
    torch_.threshold = ncnn.threshold
    assert np.mean(ncnn(frame).mask != torch_(frame).mask) <= 1e-4
    assert np.mean(ncnn(frame).mask == 255) > 0.2


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize('pipeline', ['cpu', 'gpu'])
@pytest.mark.parametrize(
    'setting',
    [
        lambda: default_dtype(torch.float64),
        lambda: default_dtype(torch.bfloat16),
        # Stands in for a GPU as the default device.
        lambda: torch.device('meta'),
        lambda: torch.autocast('cpu', torch.bfloat16),
    ],
    ids=['float64', 'bfloat16', 'device', 'autocast'],
)
def test_settings_of_pytorch_around_a_segmenter_do_not_change_its_results(
    random_checkpoint_path, frame, setting, pipeline
):
    def p_road():
        segmenter = RoadSegmenter(random_checkpoint_path, 'cpu', 'float32', backend='torch')
        if pipeline == 'gpu':
            model = fold_batch_norm(load_checkpoint(random_checkpoint_path).model)
            segmenter._pipeline = CudaPipeline(model, torch.device('cpu'), torch.float32)
        return segmenter(frame, road_probability=True).road_probability

    expected = p_road()
    with setting():
        assert np.array_equal(p_road(), expected)
    assert np.ptp(expected) > 0


@pytest.fixture(params=['cpu', 'gpu'])
def cut(request, random_checkpoint):
    """A function that makes segmenters of PyTorch at 128 x 192, with either pipeline."""

    def make(roi_top):
        segmenter = RoadSegmenter(
            random_checkpoint, 'cpu', input_hw=(128, 192), backend='torch', roi_top=roi_top
        )
        if request.param == 'gpu':
            model = fold_batch_norm(random_checkpoint.model)
            segmenter._pipeline = CudaPipeline(model, torch.device('cpu'), torch.float32)
        segmenter.threshold = 0.5
        return segmenter

    return make


@pytest.mark.parametrize('zoom', [1, 2])
def test_what_roi_top_keeps_is_what_the_network_gives_for_those_rows_alone(cut, frame, zoom):
    frame = cv2.resize(frame, None, fx=zoom, fy=zoom)
    half = len(frame) // 2
    found = cut(0.5)(frame, overlay=True)
    whole = cut(0.0)
    whole.input_rule = InputRule(fixed_hw=(64, 192))
    alone = whole(frame[half:], overlay=True)
    assert np.array_equal(found.confidence[half:], alone.confidence)
    assert np.array_equal(found.mask[half:], alone.mask)
    assert np.array_equal(found.overlay_bgr[half:], alone.overlay_bgr)


@pytest.mark.parametrize('roi_top', [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize('hw', [(1, 1), (37, 211), (128, 192), (375, 1242)])
def test_above_roi_top_is_background(cut, hw, roi_top):
    segmenter = cut(roi_top)
    segmenter.threshold = 0.001
    frame = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    found = segmenter(frame, road_probability=True, overlay=True)
    top = round(roi_top * hw[0])
    assert not found.mask[:top].any()
    assert not found.road_probability[:top].any()
    assert (found.confidence[:top] == 255).all()
    assert np.array_equal(found.overlay_bgr[:top], frame[:top])
    assert (found.mask[top:] == 255).all()


def test_above_roi_top_is_background_even_if_that_is_a_small_region(cut, frame):
    segmenter = cut(0.04)
    segmenter.threshold, segmenter.min_region = 0.001, 0.05
    found = segmenter(frame, overlay=True)
    top = round(0.04 * len(frame))
    assert not found.mask[:top].any()
    assert np.array_equal(found.overlay_bgr[:top], frame[:top])
    assert (found.mask[top:] == 255).all()


def test_roi_top_spares_the_network_whole_strides(random_checkpoint):
    heights = []
    for roi_top in (0.0, 0.2, 0.26, 0.5, 0.9):
        segmenter = RoadSegmenter(
            random_checkpoint, 'cpu', input_hw=(128, 192), backend='torch', roi_top=roi_top
        )
        seen = sizes_seen(segmenter)
        segmenter(np.zeros((256, 384, 3), np.uint8))
        heights.append(seen[0][2])
    assert heights == [128, 128, 96, 64, 32]


@pytest.mark.parametrize('roi_top', [-0.1, 0.91, float('nan')])
def test_roi_top_out_of_range_is_refused(random_checkpoint, roi_top):
    with pytest.raises(ValueError, match=rf'roi_top {roi_top} is not in \[0, 0.9\]; use 0'):
        RoadSegmenter(random_checkpoint, 'cpu', roi_top=roi_top)


@pytest.mark.parametrize('frame', [None, 'frame.png'])
def test_frame_that_is_no_array_is_refused(segmenter, frame):
    with pytest.raises(ValueError, match=f'frame is {frame!r}, not .*; read the image first'):
        segmenter(frame)


@pytest.mark.parametrize(
    'frame',
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_frame_of_another_shape_or_type_is_refused(segmenter, frame):
    with pytest.raises(ValueError, match=r'frame is .*, not \(H, W, 3\) uint8; convert it'):
        segmenter(frame)


def test_segmenter_can_be_closed_twice(random_checkpoint):
    closed = RoadSegmenter(random_checkpoint, device='cpu')
    closed.close()
    closed.close()
    with pytest.raises(AttributeError):
        closed.warm_up()
