import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fcn_road_seg import evaluate
from fcn_road_seg.datasets import BACKGROUND, ROAD, VOID


def segmenter_giving(*masks):
    answers = iter(masks)
    return lambda frame, **_: SimpleNamespace(mask=np.uint8(next(answers)) * 255)


def sample(label):
    label = np.array(label, np.uint8)
    return np.zeros((*label.shape, 3), np.uint8), label


def test_counts_are_pooled_over_frames_before_any_ratio():
    samples = [sample([[ROAD, ROAD, BACKGROUND]]), sample([[BACKGROUND] * 3])]
    measures = evaluate.road_measures(segmenter_giving([[1, 0, 1]], [[0, 0, 1]]), samples)
    # TP 1, FP 2, FN 1, TN 2.
    assert measures == {
        'iou': pytest.approx(1 / 4, abs=1e-4),
        'f1': pytest.approx(2 / 5, abs=1e-4),
        'accuracy': pytest.approx(3 / 6, abs=1e-4),
    }


def test_void_pixels_change_nothing():
    with_void = [sample([[ROAD, BACKGROUND, VOID, VOID]])]
    without = [sample([[ROAD, BACKGROUND]])]
    assert evaluate.road_measures(
        segmenter_giving([[1, 1, 1, 0]]), with_void
    ) == evaluate.road_measures(segmenter_giving([[1, 1]]), without)


def test_perfect_masks_score_1():
    label = np.random.default_rng(0).choice([BACKGROUND, ROAD], (8, 8))
    measures = evaluate.road_measures(segmenter_giving(label), [sample(label)])
    assert measures == {'iou': 1.0, 'f1': 1.0, 'accuracy': 1.0}


def test_command_prints_and_writes_figures_of_every_data_set(
    tmp_path, random_checkpoint_path, capsys
):
    for folder in ('images', 'masks'):
        (tmp_path / 'own' / folder).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(tmp_path / f'own/{folder}/{i}.png'), np.zeros((32, 48), np.uint8))
    report = tmp_path / 'report.json'
    evaluate.main(
        [
            *('--data', str(tmp_path / 'own'), '--split', 'all', '--rendered', '1'),
            *('--checkpoint', str(random_checkpoint_path), '--json', str(report)),
        ]
    )
    figures = json.loads(report.read_text())
    assert list(figures) == ['own all (2 frames)', 'rendered (1 frames)']
    assert all(0 <= value <= 1 for measures in figures.values() for value in measures.values())
    printed = capsys.readouterr().out
    assert all(f'{name}: iou' in printed for name in figures)


def test_checkpoint_at_fault_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r'evaluate: .*none.safetensors does not exist'):
        evaluate.main(['--rendered', '1', '--checkpoint', str(tmp_path / 'none.safetensors')])
