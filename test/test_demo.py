import json

import cv2
import numpy as np
import pytest

from fcn_road_seg import demo
from fcn_road_seg.demo import DemoError, Recording, Shot


def shots_of(count, hw=(8, 12)):
    label = np.zeros(hw, np.uint8)
    label[4:] = 1
    return [Shot(np.full((*hw, 3), i, np.uint8), label) for i in range(count)]


def recording_of(stamps_ns, mask, overlay_hw=(8, 12)):
    recording = Recording()
    for stamp in stamps_ns:
        recording.masks[stamp] = mask
        recording.overlays_bgr[stamp] = np.zeros((*overlay_hw, 3), np.uint8)
        recording.latency_ms[stamp] = float(stamp)
    return recording


PERFECT = np.repeat(np.uint8([0, 255]), 4)[:, None].repeat(12, axis=1)


def test_summary_counts_frames_drops_latency_and_agreement():
    summary = demo.summarise(shots_of(4), [10, 20, 30, 40], recording_of([10, 40], PERFECT))
    assert summary == {
        'frames_sent': 4,
        'masks_received': 2,
        'overlays_received': 2,
        'frames_dropped': 2,
        'latency_ms': {'p50': 25.0, 'p95': 38.5},
        'iou': 1.0,
    }


def checked(shots, stamps_ns, recording):
    demo.check(shots, stamps_ns, recording, demo.summarise(shots, stamps_ns, recording))


def test_check_passes_when_dropped_frames_are_the_only_ones_missing():
    checked(shots_of(3), [10, 20, 30], recording_of([10, 30], PERFECT))


def test_check_fails_without_the_last_frames_mask():
    with pytest.raises(DemoError, match='the last of 3 frames came back without its mask'):
        checked(shots_of(3), [10, 20, 30], recording_of([10, 20], PERFECT))


def test_check_fails_without_the_last_frames_overlay():
    recording = recording_of([10, 20], PERFECT)
    del recording.overlays_bgr[20]
    with pytest.raises(DemoError, match='without its overlay'):
        checked(shots_of(2), [10, 20], recording)


def test_check_fails_on_a_mask_that_fits_no_frame():
    with pytest.raises(DemoError, match=r'mask of size \(8, 13\) .* fits no frame'):
        checked(shots_of(1), [10], recording_of([10], np.zeros((8, 13), np.uint8)))
    with pytest.raises(DemoError, match='with the stamp 99 ns fits no frame'):
        checked(shots_of(1), [10], recording_of([10, 99], PERFECT))


def test_check_fails_on_wrong_masks():
    with pytest.raises(DemoError, match=r'only to IoU 0\.0'):
        checked(shots_of(1), [10], recording_of([10], 255 - PERFECT))


def test_image_folder_is_read_in_order_whatever_the_sizes(tmp_path):
    for name, hw in (('b.png', (4, 6)), ('a.jpg', (5, 9))):
        cv2.imwrite(str(tmp_path / name), np.zeros((*hw, 3), np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    shots = demo.image_shots(tmp_path)
    assert [shot.frame_bgr.shape for shot in shots] == [(5, 9, 3), (4, 6, 3)]
    assert all(shot.label is None for shot in shots)


def test_folder_without_a_readable_image_is_refused(tmp_path):
    with pytest.raises(DemoError, match='holds no image'):
        demo.image_shots(tmp_path)
    (tmp_path / 'x.png').write_text('no picture')
    with pytest.raises(DemoError, match=r'x.png is not a readable image'):
        demo.image_shots(tmp_path)


def test_pictures_show_what_was_received_also_for_mixed_sizes(tmp_path):
    shots = [Shot(np.full((40, 60, 3), 9, np.uint8)), Shot(np.full((50, 50, 3), 9, np.uint8))]
    recording = Recording()
    for stamp, shot in zip((1, 2), shots, strict=True):
        recording.masks[stamp] = np.full(shot.frame_bgr.shape[:2], 255, np.uint8)
        recording.overlays_bgr[stamp] = shot.frame_bgr
    demo.write_pictures(tmp_path, shots, [1, 2], recording, rate_hz=10.0)
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    width = demo.SHEET_COLUMN_WIDTH
    assert sheet.shape == (width * 40 // 60 + width, 3 * width, 3)
    assert (sheet[:, width : 2 * width] == 255).all()
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert [video.read()[0] for _ in range(3)] == [True, True, False]


def test_demo_of_real_processes_gives_masks_and_pictures(tmp_path):
    assert demo.main(['--frames', '4', '--out', str(tmp_path)]) == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['frames_sent'] == 4
    assert summary['masks_received'] + summary['frames_dropped'] == 4
    assert summary['iou'] >= 0.8
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')) is not None


def test_demo_says_so_when_the_node_cannot_start(tmp_path, capsys):
    bad = ['--parameter', 'checkpoint:=/nowhere.safetensors']
    assert demo.main(['--frames', '1', '--out', str(tmp_path), *bad]) == 1
    assert 'the node did not start' in capsys.readouterr().err
    assert '/nowhere.safetensors does not exist' in (tmp_path / 'node.log').read_text()
