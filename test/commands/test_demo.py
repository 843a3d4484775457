import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from fcn_road_seg.commands import demo
from fcn_road_seg.demo.frames import shot_of
from fcn_road_seg.live.camera_process import DemoError
from fcn_road_seg.live.recorder import Recording
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.camera_bags import PERIOD_NS, jpeg_msgs, raw_msgs, write_bag


def load_messages(count, hw=(8, 12)):
    label = np.zeros(hw, np.uint8)
    label[4:] = 1
    frames = (np.full((*hw, 3), i, np.uint8) for i in range(count))
    return [replace(shot_of(frame, i), label=label) for i, frame in enumerate(frames)]


def recording_of(stamps_ns, mask, overlay_hw=(8, 12)):
    recording = Recording()
    for stamp in stamps_ns:
        recording.masks[stamp] = mask
        recording.overlays_bgr[stamp] = np.zeros((*overlay_hw, 3), np.uint8)
        recording.latency_ms[stamp] = float(stamp)
    return recording


BECAME = {
    'frames_received': 4,
    'frames_segmented': 3,
    'frames_dropped': 1,
    'frames_refused': 0,
}
PERFECT = np.repeat(np.uint8([0, 255]), 4)[:, None].repeat(12, axis=1)


def test_summary_counts_frames_drops_latency_and_agreement():
    recording = recording_of([10, 40], PERFECT)
    summary = demo.summarise(load_messages(4), [10, 20, 30, 40], recording, BECAME)
    # One of the three masks got lost on its way, which is no drop.
    assert summary == {
        'frames_sent': 4,
        'frames_received': 4,
        'frames_segmented': 3,
        'frames_dropped': 1,
        'frames_refused': 0,
        'masks_received': 2,
        'overlays_received': 2,
        'latency_ms': {'p50': 25.0, 'p95': 38.5},
        'iou': 1.0,
    }


def checked(messages, stamps_ns, recording):
    demo.check(
        messages, stamps_ns, recording, demo.summarise(messages, stamps_ns, recording, BECAME)
    )


def test_check_passes_when_dropped_frames_are_the_only_ones_missing():
    checked(load_messages(3), [10, 20, 30], recording_of([10, 30], PERFECT))


def test_check_fails_without_the_last_frames_mask():
    with pytest.raises(DemoError, match='the last of 3 frames came back without its mask'):
        checked(load_messages(3), [10, 20, 30], recording_of([10, 20], PERFECT))


def test_check_fails_without_the_last_frames_overlay():
    recording = recording_of([10, 20], PERFECT)
    del recording.overlays_bgr[20]
    with pytest.raises(DemoError, match='without its overlay'):
        checked(load_messages(2), [10, 20], recording)


def test_check_fails_on_a_mask_that_fits_no_frame():
    with pytest.raises(DemoError, match=r'mask of size \(8, 13\) .* fits no frame'):
        checked(load_messages(1), [10], recording_of([10], np.zeros((8, 13), np.uint8)))
    with pytest.raises(DemoError, match='with the stamp 99 ns fits no frame'):
        checked(load_messages(1), [10], recording_of([10, 99], PERFECT))


def test_check_fails_on_wrong_masks():
    with pytest.raises(DemoError, match=r'only to IoU 0\.0'):
        checked(load_messages(1), [10], recording_of([10], 255 - PERFECT))


def test_pictures_show_what_was_received_also_for_mixed_sizes(tmp_path):
    frames = [np.full((40, 60, 3), 9, np.uint8), np.full((50, 50, 3), 9, np.uint8)]
    messages = [shot_of(frame, i) for i, frame in enumerate(frames)]
    recording = Recording()
    for stamp, frame in zip((1, 2), frames, strict=True):
        recording.masks[stamp] = np.full(frame.shape[:2], 255, np.uint8)
        recording.overlays_bgr[stamp] = frame
    demo.write_pictures(tmp_path, messages, [1, 2], recording)
    sheet = cv2.imread(str(tmp_path / 'contact_sheet.png'))
    width = demo.SHEET_COLUMN_WIDTH
    assert sheet.shape == (width * 40 // 60 + width, 3 * width, 3)
    assert (sheet[:, width : 2 * width] == 255).all()
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.get(cv2.CAP_PROP_FPS) == 10.0
    assert [video.read()[0] for _ in range(3)] == [True, True, False]


def test_demo_of_real_processes_gives_masks_and_pictures(tmp_path):
    assert demo.main(['--frames', '4', '--out', str(tmp_path)]) == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['frames_sent'] == summary['frames_received'] == 4
    assert summary['frames_segmented'] + summary['frames_dropped'] == 4
    assert 1 <= summary['masks_received'] <= summary['frames_segmented']
    assert summary['iou'] >= 0.8
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')) is not None


@pytest.mark.parametrize(
    ('topic', 'msgs'), [('/camera', raw_msgs), ('/camera/compressed', jpeg_msgs)]
)
def test_demo_plays_a_bag_of_raw_or_compressed_images(tmp_path, capsys, topic, msgs):
    drive = SyntheticDrive(3_000_004, (120, 160))
    frames = [drive.render(t_s=i / 10)[0] for i in range(4)]
    bag = write_bag(tmp_path / 'bag', {topic: msgs(frames)})
    out = tmp_path / 'out'
    assert demo.main(['--bag', str(bag), '--frames', '3', '--out', str(out)]) == 0
    assert 'the first 3 (--frames N for more) of 4 images' in capsys.readouterr().out
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['frames_sent'] == 3
    assert summary['frames_segmented'] + summary['frames_dropped'] == 3
    # Of stamps of 2011 it would be years.
    assert 0 < summary['latency_ms']['p50'] < 60_000
    assert summary['iou'] is None
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    width = demo.SHEET_COLUMN_WIDTH
    shown = cv2.resize(sheet[-width * 3 // 4 :, :width], (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - frames[2]).mean() < 6


def test_bag_goes_out_at_its_own_pace_unless_a_rate_is_given(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/a': raw_msgs(np.zeros((3, 4, 6, 3), np.uint8))})
    for more, period_s in (([], PERIOD_NS / 1e9), (['--rate', '4'], 0.25)):
        messages = demo.load_messages(demo.parse_args(['--bag', str(bag), *more]))
        assert [message.offset_s for message in messages] == pytest.approx(
            [0, period_s, 2 * period_s]
        )
        assert demo.mean_rate_hz(messages) == pytest.approx(1 / period_s)


def test_stamp_alone_of_a_message_is_changed():
    (msg,) = raw_msgs([np.arange(72, dtype=np.uint8).reshape(4, 6, 3)])
    again = deserialize_message(demo.stamped(serialize_message(msg), 7_000_000_009), Image)
    assert (again.header.stamp.sec, again.header.stamp.nanosec) == (7, 9)
    again.header.stamp = msg.header.stamp
    assert again == msg
    assert demo.stamped(bytes(16), 7_000_000_009) == bytes([*[0] * 7, 7, *[0] * 3, 9, *[0] * 4])


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--topic', '/a'], '--topic /a is for a bag'),
        (['--frames', '0'], '--frames 0 is too small'),
        (['--rate', '0'], '--rate 0.0 is no rate'),
        (['--rate', 'nan'], '--rate nan is no rate'),
        (['--bag', 'a', '--images', 'b'], 'not allowed with'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(argv, text, capsys):
    with pytest.raises(SystemExit):
        demo.parse_args(argv)
    assert text in capsys.readouterr().err


def test_bag_that_is_not_there_is_one_line_and_status_1(tmp_path, capsys):
    assert demo.main(['--bag', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')]) == 1
    text = f'demo: {tmp_path}/none does not exist; give the folder or file of a rosbag2\n'
    assert capsys.readouterr().err == text


def test_demo_says_so_when_the_node_cannot_start(tmp_path, capsys):
    bad = ['--parameter', 'checkpoint:=/nowhere.safetensors']
    assert demo.main(['--frames', '1', '--out', str(tmp_path), *bad]) == 1
    assert 'the node did not start' in capsys.readouterr().err
    assert '/nowhere.safetensors does not exist' in (tmp_path / 'node.log').read_text()


def no_camera(folder, offsets_s, topic, link):
    """End at the first command, as a camera process that fails."""
    link.recv()


def test_demo_says_so_when_the_camera_ends(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, 'run_camera', no_camera)
    assert demo.main(['--frames', '1', '--out', str(tmp_path)]) == 1
    assert 'demo: the camera process ended early' in capsys.readouterr().err


def test_folder_that_is_a_file_is_one_line_and_status_1(tmp_path, capsys):
    (tmp_path / 'out').touch()
    assert demo.main(['--frames', '1', '--out', str(tmp_path / 'out')]) == 1
    assert 'File exists' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_ends_the_node_and_says_one_line(tmp_path, number):
    command = [sys.executable, '-m', 'fcn_road_seg', 'demo', '--frames', '9', '--out', tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        for line in run.stdout:
            if b'starting the node' in line:
                break
        log_path = tmp_path / 'node.log'
        while run.poll() is None and 'waiting for frames' not in log_path.read_text():
            time.sleep(0.1)
        run.send_signal(number)
        _, error = run.communicate(timeout=30)
    assert run.returncode == 130
    assert error.decode().endswith('demo: interrupted\n')
    assert 'Traceback' not in error.decode()
    # Its last words.
    assert 'frames: ' in log_path.read_text()
