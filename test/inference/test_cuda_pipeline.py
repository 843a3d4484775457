"""The pipeline of a GPU: on a CPU, which captures nothing, and on a GPU if there is one.

On a machine with a GPU, with or without ROS: python -m pytest -m gpu test/inference
"""

import gc
import threading

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from fcn_road_seg.inference.backends.torch_backend import TorchBackend
from fcn_road_seg.inference.cpu_pipeline import CpuPipeline
from fcn_road_seg.inference.cuda_pipeline import _KEPT_PROGRAMS, CudaPipeline
from fcn_road_seg.inference.interfaces import OverlayStyle
from fcn_road_seg.inference.segmenter import RoadSegmenter
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN, fold_batch_norm
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.reference import model_of

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
]
DEVICES = ['cpu', pytest.param('cuda', marks=needs_gpu)]


def segmenter_on(device, checkpoint):
    """Return a segmenter whose pipeline is that of GPUs, on a CPU as well."""
    segmenter = RoadSegmenter(checkpoint, 'cpu', backend='torch')
    model = fold_batch_norm(checkpoint.model).requires_grad_(False)
    segmenter.device = torch.device(device)
    segmenter._pipeline = CudaPipeline(model, torch.device(str(segmenter.device)), torch.float32)
    return segmenter


@pytest.fixture
def segmenter(request, wide_checkpoint):
    yield (made := segmenter_on(request.param, wide_checkpoint))
    made.close()


@pytest.fixture
def reference(wide_checkpoint):
    """The CPU's pipeline around the same network, by the same library."""
    segmenter = RoadSegmenter(wide_checkpoint, 'cpu', backend='torch')
    assert isinstance(segmenter._pipeline, CpuPipeline)
    assert isinstance(segmenter._pipeline._network, TorchBackend)
    return segmenter


def picture(frame_hw, seed=2):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), np.uint8)
    return cv2.resize(coarse, frame_hw[::-1], interpolation=cv2.INTER_CUBIC)


def balance(frame, *segmenters):
    """Set the threshold so that about half of the frame is road; random weights have a bias."""
    p_road = np.median(segmenters[0](frame, road_probability=True).road_probability)
    for segmenter in segmenters:
        segmenter.threshold = float(np.clip(p_road / 255, 0.01, 0.99))


def assert_same(found, expected, mask_share=1.0):
    """Compare two segmentations; the overlay where the masks agree, but for a level.

    OpenCV rounds once where a GPU does, PyTorch on a CPU twice.
    """
    same = found.mask == expected.mask
    assert same.mean() >= mask_share
    for name in ('road_probability', 'confidence'):
        one, other = getattr(found, name), getattr(expected, name)
        if other is None:
            assert one is None
        else:
            assert np.abs(one.astype(int) - other).max() <= 1
    if expected.overlay_bgr is None:
        assert found.overlay_bgr is None
    else:
        difference = np.abs(found.overlay_bgr.astype(int) - expected.overlay_bgr)[same]
        assert difference.max(initial=0) <= 1


def graphs_of(segmenter):
    return [slot.graph for slot in segmenter._pipeline._slots.values() if slot.graph is not None]


@pytest.mark.parametrize('segmenter', ['cpu'], indirect=True)
@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    frame_hw=st.tuples(st.integers(1, 260), st.integers(1, 400)),
    order=st.sampled_from(['bgr', 'rgb']),
    asked=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    alpha=st.floats(0, 1),
    color=st.tuples(*[st.integers(0, 255)] * 3),
    roi_top=st.sampled_from([0.0, 0.3, 0.55, 0.9]),
)
def test_float32_gives_what_the_cpus_pipeline_gives(
    reference, segmenter, frame_hw, order, asked, alpha, color, roi_top
):
    reference._roi_top = segmenter._roi_top = roi_top
    frame = picture(frame_hw)
    balance(frame[frame_hw[0] // 2 :], reference, segmenter)
    reference.overlay_style = segmenter.overlay_style = OverlayStyle(color, alpha)
    outputs = dict(zip(('road_probability', 'confidence', 'overlay'), asked, strict=True))
    options = {'channel_order': order, **outputs}
    found, expected = (each(frame, **options) for each in (segmenter, reference))
    # Of a small frame this is one pixel: a logit that lies on the threshold.
    assert_same(found, expected, 1 - max(1e-5, 1 / found.mask.size))


@pytest.mark.parametrize('device', DEVICES)
def test_narrow_network_gives_what_the_cpus_pipeline_gives(device):
    config = RoadFCNConfig(width=0.25, context=True, overlap=True)
    checkpoint = Checkpoint(model_of(config), InputRule(pixels=64 * 96))
    frame = picture((90, 130))
    segmenter = segmenter_on(device, checkpoint)
    expected = RoadSegmenter(checkpoint, 'cpu', backend='torch')
    balance(frame, expected, segmenter)
    asked = {'road_probability': True, 'overlay': True}
    assert_same(segmenter(frame, **asked), expected(frame, **asked), mask_share=0.999)
    segmenter.close()


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_pixels_to_look_up_may_change_from_frame_to_frame(segmenter):
    frame, rng = picture((90, 130)), np.random.default_rng(0)
    # The third frame replays a captured graph, the fourth one with another table.
    tables = [rng.integers(0, 90 * 130, 500)] * 3 + [rng.integers(0, 90 * 130, 500)]
    for pixels in tables:
        found = segmenter(frame, road_probability=True, pixels=pixels)
        expected = found.road_probability.reshape(-1)[pixels]
        assert np.array_equal(found.road_probability_at, expected)


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
@pytest.mark.parametrize('hw', [(1, 1), (37, 211), (375, 1242)])
def test_results_have_the_size_of_any_frame(segmenter, hw):
    for _ in range(3):
        result = segmenter(np.zeros((*hw, 3), np.uint8), overlay=True)
        assert result.mask.shape == result.confidence.shape == hw
        assert result.overlay_bgr.shape == (*hw, 3)


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_results_of_one_frame_survive_the_next(segmenter):
    frame = picture((128, 192))
    balance(frame, segmenter)
    for _ in range(3):
        first = segmenter(frame, overlay=True)
        kept = [first.mask.copy(), first.confidence.copy(), first.overlay_bgr.copy()]
        segmenter(255 - frame, overlay=True)
        for now, before in zip(
            (first.mask, first.confidence, first.overlay_bgr), kept, strict=True
        ):
            assert np.array_equal(now, before)


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_padded_and_read_only_frames_give_the_same_results(segmenter):
    frame = picture((128, 192))
    padded = np.full((128, 200, 3), 9, np.uint8)
    padded[:, :192] = frame
    padded.flags.writeable = False
    expected = segmenter(frame, overlay=True)
    assert_same(segmenter(padded[:, :192], overlay=True), expected)
    assert_same(segmenter(np.asfortranarray(frame), overlay=True), expected)


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_threshold_and_style_count_from_the_next_frame_on(segmenter, reference):
    frame = picture((128, 192))
    for i in range(4):
        for each in (segmenter, reference):
            each.threshold = 0.2 + 0.15 * i
            each.overlay_style = OverlayStyle((10 * i, 200, 60), 0.2 * i)
        assert_same(segmenter(frame, overlay=True), reference(frame, overlay=True), 0.9999)
    on_gpu = segmenter.device.type == 'cuda'
    assert len(graphs_of(segmenter)) == on_gpu


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_kinds_of_frames_take_turns_without_mixing(segmenter, reference):
    sizes = [(128, 192), (90, 260), (200, 100)]
    frames = [picture(hw, seed) for seed, hw in enumerate(sizes)]
    for _ in range(3):
        for frame in frames:
            for options in ({'overlay': True}, {'confidence': False}):
                assert_same(segmenter(frame, **options), reference(frame, **options), 0.9999)
    on_gpu = segmenter.device.type == 'cuda'
    assert len(graphs_of(segmenter)) == 2 * len(sizes) * on_gpu


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_kinds_not_seen_for_long_are_forgotten_and_known_again(segmenter, reference):
    sizes = [(100 + 4 * i, 150) for i in range(_KEPT_PROGRAMS + 2)]
    for hw in sizes:
        segmenter(picture(hw))
    kept = segmenter._pipeline._slots
    assert [kind[0] for kind in kept] == sizes[-_KEPT_PROGRAMS:]
    frame = picture(sizes[0])
    for _ in range(3):
        assert_same(segmenter(frame), reference(frame), 0.9999)
    assert [kind[0] for kind in kept] == [*sizes[-_KEPT_PROGRAMS + 1 :], sizes[0]]


@pytest.fixture(params=['untouched', 'ieee', 'tf32'])
def fp32_precision(request):
    """What the process has set as PyTorch's precision in float32 (2.9 and newer)."""
    if request.param == 'untouched':
        yield
        return
    if not hasattr(torch.backends, 'fp32_precision'):
        pytest.skip('this PyTorch has only allow_tf32')
    torch.backends.fp32_precision = request.param
    yield
    torch.backends.fp32_precision = 'none'


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
@pytest.mark.usefixtures('fp32_precision')
def test_pytorchs_settings_are_left_as_they_were(segmenter):
    cudnn = torch.backends.cudnn

    def of_pytorch():
        # allow_tf32 cannot be read if fp32_precision was set.
        tf32 = cudnn.conv.fp32_precision if hasattr(cudnn, 'conv') else cudnn.allow_tf32
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, tf32

    before = of_pytorch()
    for _ in range(3):
        segmenter(picture((128, 192)))
        assert of_pytorch() == before
    with segmenter._pipeline._arithmetic():
        assert of_pytorch() == (True, False, True, 'ieee' if hasattr(cudnn, 'conv') else False)
    assert of_pytorch() == before


@pytest.mark.parametrize('segmenter', DEVICES, indirect=True)
def test_a_thread_that_did_not_make_it_may_use_it(segmenter, reference):
    frame = picture((128, 192))
    segmenter(frame)
    found = []
    thread = threading.Thread(target=lambda: found.extend(segmenter(frame) for _ in range(3)))
    thread.start()
    thread.join()
    assert len(found) == 3
    for result in [*found, segmenter(frame)]:
        assert_same(result, reference(frame), 0.9999)


@pytest.fixture
def on_gpu(wide_checkpoint):
    yield (made := RoadSegmenter(wide_checkpoint, 'cuda', 'float32'))
    made.close()


def gpu_only(test):
    for mark in needs_gpu:
        test = mark(test)
    return test


def network_input_and_logit(segmenter):
    """Compute both once more from the last frame's upload; return them on the CPU."""
    pipeline = segmenter._pipeline
    program = list(pipeline._slots.values())[-1].program
    with torch.inference_mode(), torch.cuda.stream(pipeline._stream), pipeline._arithmetic():
        x = program.network_input()
        return x.cpu(), program.input_logit(x).cpu()


@gpu_only
@pytest.mark.parametrize('hw', [(375, 1242), (128, 192), (40, 60), (301, 97), (1080, 1920)])
def test_float32_on_the_gpu_is_the_reference(on_gpu, reference, wide_checkpoint, hw):
    frame = picture(hw)
    balance(frame, reference, on_gpu)
    for _ in range(3):
        found, expected = on_gpu(frame, overlay=True), reference(frame, overlay=True)
        # The logits of random weights lie so near each other that those of 20 pixels of 1080 x
        # 1920 are within 1e-6 of the threshold.
        assert_same(found, expected, 1 - max(1e-4, 1 / found.mask.size))
    on_cpu = segmenter_on('cpu', wide_checkpoint)
    on_cpu(frame)
    (x, logit), (x_cpu, logit_cpu) = (network_input_and_logit(each) for each in (on_gpu, on_cpu))
    # One grey level is 0.017 or more. 1080 x 1920 pixels have means of 300, which may lie between
    # two levels, where the order of the summands decides.
    assert ((x - x_cpu).abs() > 1e-3).float().mean() <= (1e-3 if hw[0] > 1000 else 1e-5)
    assert (logit - logit_cpu).abs().max() < 1e-3


@gpu_only
def test_float32_on_the_gpu_gives_the_cpus_mask_by_the_shipped_checkpoint():
    checkpoint = load_checkpoint(default_checkpoint_path())
    on_gpu = RoadSegmenter(checkpoint, 'cuda', 'float32')
    reference = RoadSegmenter(checkpoint, 'cpu', backend='torch')
    for seed in range(4):
        frame, _ = SyntheticDrive(seed).render(1.0)
        found, expected = (each(frame, overlay=True) for each in (on_gpu, reference))
        assert 0.05 < np.mean(expected.mask == 255) < 0.9
        assert_same(found, expected, 1 - 1e-5)


@gpu_only
@pytest.mark.parametrize(('precision', 'least_iou'), [('float16', 0.999), ('bfloat16', 0.98)])
def test_masks_of_16_bits_overlap_the_reference(precision, least_iou):
    checkpoint = load_checkpoint(default_checkpoint_path())
    both = union = 0
    in_16_bits = RoadSegmenter(checkpoint, 'cuda', precision)
    reference = RoadSegmenter(checkpoint, 'cuda', 'float32')
    for seed in range(4):
        frame, label = SyntheticDrive(seed).render(1.0)
        found, expected = (each(frame).mask > 0 for each in (in_16_bits, reference))
        assert np.sum(expected & (label > 0)) > 0.5 * np.sum(label > 0)
        both += np.sum(found & expected)
        union += np.sum(found | expected)
    assert both / union >= least_iou


@gpu_only
def test_second_frame_of_a_kind_is_captured_and_all_give_the_same(on_gpu):
    frame = picture((128, 192))
    balance(frame, on_gpu)
    on_gpu._pipeline._slots.clear()
    results = []
    for captured in (0, 1, 1, 1):
        results.append(on_gpu(frame, overlay=True))
        assert len(graphs_of(on_gpu)) == captured
    for result in results[1:]:
        for name in ('mask', 'confidence', 'overlay_bgr'):
            assert np.array_equal(getattr(result, name), getattr(results[0], name))


@gpu_only
def test_size_that_changes_with_every_frame_is_never_captured(on_gpu):
    for width in range(100, 160, 3):
        on_gpu(picture((100, width)))
    assert not graphs_of(on_gpu)


@gpu_only
@pytest.mark.parametrize('precision', ['float32', 'float16'])
def test_nothing_is_allocated_once_a_size_is_known(wide_checkpoint, precision):
    segmenter = RoadSegmenter(wide_checkpoint, 'cuda', precision)
    frame = picture((375, 1242))

    def allocations():
        device = torch.cuda.memory_stats()
        counts = [device['allocation.all.allocated'], device['segment.all.allocated']]
        if hasattr(torch.cuda, 'host_memory_stats'):
            counts.append(torch.cuda.host_memory_stats()['num_host_alloc'])
        return counts

    for _ in range(4):
        segmenter(frame, overlay=True)
    before = allocations()
    for i in range(20):
        segmenter.threshold = 0.3 + 0.02 * i
        segmenter(frame, overlay=True)
    assert allocations() == before


@gpu_only
def test_memory_stays_under_a_gibibyte(wide_checkpoint):
    gc.collect()
    torch.cuda.empty_cache()
    others_mib = torch.cuda.memory_reserved() / 2**20
    segmenter = RoadSegmenter(wide_checkpoint, 'cuda', 'float16', input_hw=(352, 1216))
    for frame in (picture((375, 1242)), picture((370, 1226))):
        for options in ({'overlay': True}, {'confidence': False}, {}):
            for _ in range(3):
                segmenter(frame, **options)
    assert len(graphs_of(segmenter)) == 6
    assert segmenter.gpu_memory_mib() - others_mib < 1024


class FullMemory(TorchDispatchMode):
    """PyTorch whose allocator fails in the `number`-th operation, and counts them in `count`."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self.count == self.number:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20 MiB.')
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize('known', [False, True], ids=['new size', 'known size'])
def test_memory_that_is_full_in_any_operation_costs_its_frame_alone(known):
    torch.manual_seed(1)
    model = RoadFCN(RoadFCNConfig(width=0.25)).eval().requires_grad_(False)
    segmenter = segmenter_on('cpu', Checkpoint(model, InputRule(pixels=32 * 32)))
    frame, options = picture((40, 60)), {'overlay': True, 'road_probability': True}
    expected = segmenter(frame, **options)
    with FullMemory(0) as operations:
        segmenter(frame, **options)
    assert operations.count > 50
    for number in range(1, operations.count + 1):
        if not known:
            segmenter._pipeline._slots.clear()
        with pytest.raises(torch.cuda.OutOfMemoryError), FullMemory(number):
            segmenter(frame, **options)
        assert_same(segmenter(frame, **options), expected)


@gpu_only
def test_capture_that_fails_costs_its_frame_alone(on_gpu, reference):
    frame = picture((128, 192))
    on_gpu(frame)
    gc.collect()
    torch.cuda.empty_cache()
    used = torch.cuda.memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(used)
    try:
        with pytest.raises(RuntimeError):
            on_gpu(frame)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    for _ in range(3):
        assert_same(on_gpu(frame), reference(frame), 0.9999)
    assert not graphs_of(on_gpu)


@gpu_only
def test_another_thread_may_use_the_gpu_during_a_capture(on_gpu, reference):
    ended = threading.Event()
    rounds = []

    def work():
        while not ended.is_set():
            # Of a size that grows, so that the driver is asked for memory.
            numbers = torch.arange(1000 + 1_000_000 * (len(rounds) % 50), device='cuda')
            rounds.append(int(numbers[-1]) == len(numbers) - 1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for width in range(150, 200, 10):
            frame = picture((100, width))
            for _ in range(3):
                assert_same(on_gpu(frame), reference(frame), 0.9999)
    finally:
        ended.set()
        thread.join()
    assert len(graphs_of(on_gpu)) == 5
    assert rounds
    assert all(rounds)


@gpu_only
def test_results_may_be_let_go_of_during_a_capture(on_gpu, reference):
    results = [on_gpu(picture((100, 150))) for _ in range(3)]
    expected = reference(picture((100, 170)))
    on_gpu(picture((100, 170)))
    ended = threading.Event()

    def let_go():
        while not ended.is_set():
            if results:
                results.pop()

    results += [on_gpu(picture((100, 150))) for _ in range(2000)]
    thread = threading.Thread(target=let_go)
    thread.start()
    try:
        found = [on_gpu(picture((100, 170))) for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    for result in found:
        assert_same(result, expected, 0.9999)


@gpu_only
def test_closing_gives_the_memory_back(wide_checkpoint):
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    segmenter = RoadSegmenter(wide_checkpoint, 'cuda', 'float16')
    for _ in range(3):
        segmenter(picture((375, 1242)), overlay=True)
    assert torch.cuda.memory_reserved() > before
    segmenter.close()
    assert torch.cuda.memory_reserved() <= before


@gpu_only
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='no second CUDA device')
def test_second_gpu_is_used_from_threads_whose_device_is_the_first(wide_checkpoint, reference):
    segmenter = RoadSegmenter(wide_checkpoint, 'cuda:1', 'float32')
    frame = picture((128, 192))
    for _ in range(3):
        assert_same(segmenter(frame), reference(frame), 0.9999)
    assert torch.cuda.current_device() == 0
    assert len(graphs_of(segmenter)) == 1
