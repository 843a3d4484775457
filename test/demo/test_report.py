from dataclasses import replace

import cv2
import numpy as np
import pytest

from fcn_road_seg.demo.frames import DemoError
from fcn_road_seg.demo.report import (
    SHEET_COLUMN_WIDTH,
    check,
    figure_lines,
    mean_rate_hz,
    summarise,
    write_pictures,
)
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.recorder import Recording

COUNTS = {
    'frames_received': 4,
    'frames_segmented': 3,
    'frames_dropped': 1,
    'frames_refused': 0,
}
PERFECT = np.repeat(np.uint8([0, 255]), 4)[:, None].repeat(12, axis=1)


def labelled_messages(count, hw=(8, 12)):
    label = np.zeros(hw, np.uint8)
    label[4:] = 1
    return [
        CameraMessage.from_frame(np.full((*hw, 3), i, np.uint8), i / 10, label)
        for i in range(count)
    ]


def recording_of(sent_ns, received_ns, mask=PERFECT):
    """Return a recording with one mask for all, an overlay for each, latencies as the stamps."""
    latency_ms = {stamp: float(stamp) for stamp in received_ns}
    pictures = {
        'mask': dict.fromkeys(received_ns, mask),
        'overlay': {stamp: np.zeros((8, 12, 3), np.uint8) for stamp in received_ns},
    }
    return Recording({'mask': latency_ms, 'overlay': dict(latency_ms)}, pictures, sent_ns)


def run_check(count, recording):
    messages = labelled_messages(count)
    check(messages, recording, summarise(messages, recording, COUNTS))


def test_summary_counts_frames_drops_latency_and_agreement():
    recording = recording_of([10, 20, 30, 40], [10, 40])
    # One of the three masks got lost on its way, which is no drop.
    assert summarise(labelled_messages(4), recording, COUNTS) == {
        'frames_sent': 4,
        'frames_received': 4,
        'frames_segmented': 3,
        'frames_dropped': 1,
        'frames_refused': 0,
        'masks_received': 2,
        'overlays_received': 2,
        'latency_ms': {'p50': 10.0, 'p95': 40.0},
        'iou': 1.0,
        'grids_received': 0,
        'grid_iou': None,
    }


def test_summary_without_masks_or_labels_has_neither_latency_nor_agreement():
    summary = summarise(labelled_messages(1), recording_of([10], []), COUNTS)
    assert summary['latency_ms'] == {'p50': None, 'p95': None}
    assert summary['iou'] is None


def test_agreement_is_over_the_pixels_of_all_frames():
    half = PERFECT.copy()
    half[:, 6:] = 0
    recording = recording_of([10, 20], [10, 20])
    recording.pictures['mask'][20] = half
    assert summarise(labelled_messages(2), recording, COUNTS)['iou'] == 0.75


def test_agreement_of_the_grids_is_printed():
    messages = labelled_messages(4)
    summary = summarise(messages, recording_of([10, 20, 30, 40], [10, 40]), COUNTS)
    *_, line = figure_lines(messages, {**summary, 'grid_iou': 0.8797})
    assert line == 'IoU of the grids with the exact road, to 20 m: 0.880'


def test_figures_are_printed_in_one_line_with_the_agreement_in_another():
    messages = labelled_messages(4)
    summary = summarise(messages, recording_of([10, 20, 30, 40], [10, 40]), COUNTS)
    assert list(figure_lines(messages, summary)) == [
        '4 frames sent at 10 Hz, 4 received by the node, 3 segmented, 1 dropped for a newer '
        'frame, 0 refused; 2 masks received, latency p50 10.0 ms, p95 40.0 ms',
        'IoU of the masks with the exact labels: 1.000',
    ]


def test_check_passes_if_only_dropped_frames_are_missing():
    run_check(3, recording_of([10, 20, 30], [10, 30]))


def test_check_fails_without_the_last_frames_mask():
    with pytest.raises(DemoError, match='no mask arrived for the last of 3 frames'):
        run_check(3, recording_of([10, 20, 30], [10, 20]))


def test_check_fails_without_the_last_frames_overlay():
    recording = recording_of([10, 20], [10, 20])
    del recording.pictures['overlay'][20]
    with pytest.raises(DemoError, match='no overlay arrived for the last of 2 frames'):
        run_check(2, recording)


def test_check_fails_on_a_mask_of_another_size_than_its_frame():
    recording = recording_of([10], [10], np.zeros((8, 13), np.uint8))
    with pytest.raises(DemoError, match=r'mask of size \(8, 13\) .* matches no frame'):
        run_check(1, recording)


def test_check_fails_on_a_stamp_that_no_frame_has():
    with pytest.raises(DemoError, match='with the timestamp 99 ns matches no frame'):
        run_check(1, recording_of([10], [10, 99]))


def test_check_fails_on_wrong_masks():
    with pytest.raises(DemoError, match=r'labels is only 0\.0; at least 0\.8'):
        run_check(1, recording_of([10], [10], 255 - PERFECT))


def test_check_fails_without_the_last_grid_of_a_calibrated_camera():
    messages = [replace(message, camera_info=b'') for message in labelled_messages(2)]
    recording = recording_of([10, 20], [10, 20])
    recording.grids[10] = np.zeros((2, 3), np.int8)
    summary = summarise(messages, recording, COUNTS)
    with pytest.raises(DemoError, match='no grid arrived for the last of 2 frames'):
        check(messages, recording, summary)
    recording.grids[20] = recording.grids[10]
    check(messages, recording, summary)


@pytest.fixture
def pictures_of_mixed_sizes(tmp_path):
    frames = [np.full((40, 60, 3), 9, np.uint8), np.full((50, 50, 3), 9, np.uint8)]
    messages = [CameraMessage.from_frame(frame, i / 10) for i, frame in enumerate(frames)]
    recording = recording_of([1, 2], [1, 2])
    for stamp, frame in zip((1, 2), frames, strict=True):
        recording.pictures['mask'][stamp] = np.full(frame.shape[:2], 255, np.uint8)
        recording.pictures['overlay'][stamp] = frame
    write_pictures(tmp_path, messages, recording)
    return tmp_path


def test_contact_sheet_has_a_row_for_each_frame_also_for_mixed_sizes(pictures_of_mixed_sizes):
    sheet = cv2.imread(str(pictures_of_mixed_sizes / 'contact_sheet.png'))
    width = SHEET_COLUMN_WIDTH
    assert sheet.shape == (width * 40 // 60 + width, 3 * width, 3)
    assert (sheet[:, width : 2 * width] == 255).all()


def test_video_has_each_overlay_at_the_cameras_rate(pictures_of_mixed_sizes):
    video = cv2.VideoCapture(str(pictures_of_mixed_sizes / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 10.0
    assert [video.read()[0] for _ in range(3)] == [True, True, False]


def test_no_pictures_are_written_if_nothing_came_back(tmp_path):
    write_pictures(tmp_path, labelled_messages(1), recording_of([10], []))
    assert list(tmp_path.iterdir()) == []


def test_mean_rate_is_that_of_the_messages():
    frame_bgr = np.zeros((2, 2, 3), np.uint8)
    messages = [CameraMessage.from_frame(frame_bgr, at_s) for at_s in (0.0, 0.1, 0.5)]
    assert mean_rate_hz(messages) == 4.0


def test_single_message_has_the_default_rate():
    assert mean_rate_hz(labelled_messages(1)) == 30.0
