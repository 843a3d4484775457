import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fcn_road_seg.datasets.labels import BACKGROUND, ROAD, VOID
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.evaluation.corruptions import CORRUPTIONS
from fcn_road_seg.evaluation.evaluator import Evaluation, Example, load_examples, measure

SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample'


needs_sample = pytest.mark.skipif(
    not SAMPLE.is_dir(), reason=f'the KITTI road sample is not in {SAMPLE}'
)


def giving(*p_roads):
    """A segmenter that gives these p(road) in [0, 1], whatever the frame."""
    answers = iter(p_roads)

    def segment(frame, *, channel_order, road_probability=False, confidence=True):
        assert channel_order == 'rgb'
        assert not confidence
        p_road = np.array(next(answers), float)
        return SimpleNamespace(
            mask=np.uint8(p_road >= 0.5) * 255,
            road_probability=np.uint8(np.round(255 * p_road)) if road_probability else None,
        )

    return segment


def example(label, **about):
    label = np.array(label, np.uint8)
    return Example('frame', np.zeros((*label.shape, 3), np.uint8), label, **about)


def report(p_roads, examples):
    return measure(giving(*p_roads), examples, stress=False).report()


def test_counts_are_pooled_over_frames_before_any_ratio():
    examples = [example([[ROAD, ROAD, BACKGROUND]]), example([[BACKGROUND] * 3])]
    figures = report([[[1, 0, 1]], [[0, 0, 1]]], examples)
    # TP 1, FP 2, FN 1, TN 2.
    assert (figures['iou'], figures['f1'], figures['accuracy']) == (0.25, 0.4, 0.5)
    assert figures['frames'] == 2


def test_mask_measures_are_at_the_threshold_and_the_kitti_measure_at_the_best_one():
    figures = report([[[0.4, 0.3]]], [example([[ROAD, BACKGROUND]])])
    assert figures['iou'] == 0
    pooled = figures['perspective']['pooled']
    assert pooled['max_f'] == 100
    assert 0.3 * 255 < pooled['threshold'] <= 0.4 * 255


def test_best_threshold_is_told_with_its_iou_and_the_calibration_error():
    figures = report([[[0.4, 0.2]]], [example([[ROAD, BACKGROUND]])])
    assert figures['probability']['best_iou'] == 1
    assert 0.2 < figures['probability']['best_threshold'] <= 0.4
    assert figures['probability']['calibration_error'] == pytest.approx((0.6 + 0.2) / 2)


def test_void_pixels_change_nothing():
    with_void = report([[[1, 1, 1, 0]]], [example([[ROAD, BACKGROUND, VOID, VOID]])])
    assert with_void == report([[[1, 1]]], [example([[ROAD, BACKGROUND]])])


def test_categories_have_measures_of_their_own_and_one_pooled():
    examples = [example([[ROAD, BACKGROUND]], category=c) for c in ('uu', 'um')]
    perspective = report([[[1, 1]], [[1, 0]]], examples)['perspective']
    assert list(perspective) == ['um', 'uu', 'pooled']
    assert perspective['um']['pre'] == 100
    assert perspective['uu']['pre'] == 50
    assert perspective['pooled']['pre'] == pytest.approx(200 / 3, abs=1e-3)


def test_cells_that_the_image_does_not_show_are_not_counted_in_birds_eye_view():
    # From 2 m above the road, the sides of its nearest cells lie outside of the image.
    homography = np.array([[64.0, 64, 0], [0, 1, 128], [0, 1, 0]])
    label = np.full((32, 128), BACKGROUND)
    label[:, :64] = ROAD
    figures = report([np.ones((32, 128))], [example(label, road_to_image=homography)])
    assert figures['birds_eye_view']['pooled']['fpr'] == 100


def test_false_positives_are_told_by_class_and_road_is_none():
    classes, index = ('sky', 'road', 'void', 'car'), np.uint8([[0, 1, 2, 3, 3, 3, 3]])
    label = [[BACKGROUND, ROAD, VOID, BACKGROUND, BACKGROUND, BACKGROUND, BACKGROUND]]
    one = example(label, classes=classes, class_index=index)
    figures = report([[[0, 1, 1, 1, 0, 0, 0]]], [one])
    assert figures['false_positive_rate_by_class'] == {'sky': 0, 'car': 0.25}


def test_worst_frames_come_first_and_frames_without_road_are_left_out():
    evaluation = Evaluation()
    for wrong in [*range(20), 20]:
        label = np.full((1, 20), ROAD, np.uint8)
        mask = np.full((1, 20), 255, np.uint8)
        mask[0, :wrong] = 0
        evaluation.add(Example(f'{wrong:02}', np.zeros((1, 20, 3), np.uint8), label), mask, mask)
    nothing = example([[BACKGROUND] * 20])
    evaluation.add(nothing, np.zeros((1, 20), np.uint8), np.zeros((1, 20), np.uint8))
    worst = evaluation.report()['worst']
    assert [entry['frame'] for entry in worst] == [f'{wrong:02}' for wrong in range(20, 8, -1)]
    assert worst[0]['iou'] == 0
    assert worst[1]['iou'] == 0.05


def test_what_the_pixels_do_not_define_is_null():
    figures = report([[[0, 0]]], [example([[VOID, VOID]])])
    assert figures['iou'] is None
    assert figures['worst'] == []
    assert set(figures['perspective']['pooled'].values()) == {None}
    json.dumps(figures, allow_nan=False)


def test_frames_without_road_have_no_best_threshold():
    figures = report([[[0.4, 0]]], [example([[BACKGROUND, BACKGROUND]])])
    assert figures['probability']['best_threshold'] is None
    assert figures['probability']['best_iou'] is None
    assert figures['probability']['calibration_error'] == 0.2


def test_stress_tells_the_change_of_iou():
    answers = [[[1, 0]], [[1, 1]], [[1, 0]], [[0, 0]], [[1, 0]]]
    one = example([[ROAD, BACKGROUND]])
    stress = measure(giving(*answers), [one], stress=True).report()['stress']
    assert list(stress) == list(CORRUPTIONS)
    assert [figures['iou'] for figures in stress.values()] == [0.5, 1, 0, 1]
    assert [figures['change'] for figures in stress.values()] == [-0.5, 0, -1, 0]


@needs_sample
def test_labels_as_their_own_prediction_score_100_in_both_views_of_the_kitti_sample():
    frames = find_frames(SAMPLE, 'all')
    examples = list(load_examples(frames, 'sample'))
    assert [e.category for e in examples] == ['um', 'uu']
    figures = report([e.label == ROAD for e in examples], examples)
    assert figures['iou'] == 1
    for view in ('perspective', 'birds_eye_view'):
        for category in ('um', 'uu', 'pooled'):
            measures = figures[view][category]
            assert (measures['max_f'], measures['ap']) == (100, 100)
            assert (measures['fpr'], measures['fnr']) == (0, 0)
