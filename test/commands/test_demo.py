import json
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from fcn_road_seg.commands import demo
from fcn_road_seg.demo.ground import PANEL_HEIGHT
from fcn_road_seg.demo.report import SHEET_COLUMN_WIDTH
from fcn_road_seg.demo.run import FILES
from fcn_road_seg.model.shipped_checkpoints import default_checkpoint_path
from fcn_road_seg.synthetic import SyntheticDrive
from test.helpers.camera_bags import PERIOD_NS, jpeg_msgs, raw_msgs, write_bag


def test_demo_of_real_processes_gives_masks_and_pictures(tmp_path):
    # Slow enough that a busy machine, too, receives every frame before the next replaces it.
    assert demo.main(['--frames', '4', '--rate', '5', '--out', str(tmp_path)]) == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['frames_sent'] == summary['frames_received'] == 4
    assert summary['frames_segmented'] + summary['frames_dropped'] == 4
    assert 1 <= summary['masks_received'] <= summary['frames_segmented']
    assert summary['iou'] >= 0.8
    assert cv2.imread(str(tmp_path / 'contact_sheet.png')) is not None
    assert 1 <= summary['grids_received'] <= summary['frames_segmented']
    # Vehicles hide some of the road, and the vehicle bounces.
    assert summary['grid_iou'] >= 0.7
    panel = cv2.imread(str(tmp_path / 'grid.png'))
    assert panel.shape[0] % PANEL_HEIGHT == 0
    assert (tmp_path / 'grid.mp4').stat().st_size > 0


# Too fast for a CPU.
FAST = ('--frames', '6', '--rate', '400', '--parameter', 'device:=cpu')


def test_light_network_is_shown_if_the_default_one_misses_frames(tmp_path, capsys):
    assert demo.main([*FAST, '--out', str(tmp_path)]) == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    default = summary['default_network']
    assert default['frames_segmented'] < default['frames_sent'] == summary['frames_sent'] == 6
    assert summary['iou'] >= 0.8
    assert 'lite.safetensors' in (tmp_path / 'node_lite.log').read_text()
    assert 'lite.safetensors' not in (tmp_path / 'node.log').read_text()
    missed = 6 - default['frames_segmented']
    said = f'the default network missed {missed} of 6 frames at this rate; the pictures are those'
    assert f'{said} of the light one (checkpoint:=lite)' in capsys.readouterr().out


def test_checkpoint_that_is_named_is_the_only_one_that_runs(tmp_path):
    default = f'checkpoint:={default_checkpoint_path()}'
    assert demo.main([*FAST, '--parameter', default, '--out', str(tmp_path)]) == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    assert summary['frames_segmented'] < 6
    assert 'default_network' not in summary


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
    # The camera keeps only its newest frame: on a busy machine, the middleware may lose one.
    assert summary['frames_received'] in (2, 3)
    assert summary['frames_segmented'] + summary['frames_dropped'] == summary['frames_received']
    # Of stamps of 2011 it would be years.
    assert 0 < summary['latency_ms']['p50'] < 60_000
    assert summary['iou'] is None
    # Without a calibration.
    assert (summary['grids_received'], summary['grid_iou']) == (0, None)
    assert not (out / 'grid.png').exists()
    sheet = cv2.imread(str(out / 'contact_sheet.png'))
    width = SHEET_COLUMN_WIDTH
    shown = cv2.resize(sheet[-width * 3 // 4 :, :width], (160, 120), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - frames[2]).mean() < 6


@pytest.mark.parametrize(('more', 'period_s'), [([], PERIOD_NS / 1e9), (['--rate', '4'], 0.25)])
def test_bag_goes_out_at_its_own_pace_unless_a_rate_is_given(tmp_path, more, period_s):
    bag = write_bag(tmp_path / 'bag', {'/a': raw_msgs(np.zeros((3, 4, 6, 3), np.uint8))})
    messages = demo.load_messages(demo.parse_args(['--bag', str(bag), *more]))
    assert [m.offset_s for m in messages] == pytest.approx([0, period_s, 2 * period_s])


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--topic', '/a'], '--topic /a needs a bag; add --bag PATH'),
        (['--frames', '0'], "--frames: '0' is not a whole number of at least 1"),
        (['--rate', '0'], "--rate: '0' is not a positive number"),
        (['--rate', 'nan'], "--rate: 'nan' is not a positive number"),
        (['--bag', 'a', '--images', 'b'], 'not allowed with'),
    ],
)
def test_arguments_that_make_no_sense_are_refused(argv, text, capsys):
    with pytest.raises(SystemExit):
        demo.parse_args(argv)
    assert text in capsys.readouterr().err


def test_bag_that_does_not_exist_is_told_in_one_line(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    text = f'demo: {tmp_path}/none does not exist; give the folder or file of a rosbag2'
    with pytest.raises(SystemExit) as ended:
        demo.main(['--bag', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])
    assert ended.value.code == text


def test_node_that_cannot_start_is_told_with_its_log_and_no_earlier_run_is_left(tmp_path):
    for name in (*FILES, 'photo.png'):
        (tmp_path / name).touch()
    argv = ['--frames', '1', '--out', str(tmp_path)]
    with pytest.raises(
        SystemExit, match=r'^demo: the node ended during startup with status 1; see .*/node\.log$'
    ):
        demo.main([*argv, '--parameter', 'checkpoint:=/nowhere.safetensors'])
    assert '/nowhere.safetensors does not exist' in (tmp_path / 'node.log').read_text()
    assert {path.name for path in tmp_path.iterdir()} == {'node.log', 'photo.png'}


def test_out_that_is_a_file_is_told_in_one_line(tmp_path):
    (out := tmp_path / 'out').touch()
    with pytest.raises(SystemExit) as ended:
        demo.main(['--frames', '1', '--out', str(out)])
    text = f'demo: {out} cannot be written to (Not a directory); use another folder'
    assert ended.value.code == text


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_ends_the_node_and_says_one_line(tmp_path, number):
    command = [sys.executable, '-m', 'fcn_road_seg', 'demo', '--frames', '9', '--out', tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        for line in run.stdout:
            if b'starting the node' in line:
                break
        log_path = tmp_path / 'node.log'
        while run.poll() is None:
            if log_path.exists() and 'waiting for frames' in log_path.read_text():
                break
            time.sleep(0.1)
        run.send_signal(number)
        _, error = run.communicate(timeout=30)
    assert run.returncode == 130
    assert error.decode().endswith('demo: interrupted\n')
    assert 'Traceback' not in error.decode()
    # Its last words.
    assert 'frames: ' in log_path.read_text()
