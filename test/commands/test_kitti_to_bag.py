import re
import signal
import subprocess

import pytest

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.commands import kitti_to_bag
from test.helpers.bag_files import command_line, interrupted, parsed_messages
from test.helpers.kitti_trees import (
    raw_drive,
    road_folder,
    timestamps,
)

IMAGE_TOPIC = '/kitti/camera_color_left/image_raw'
INFO_TOPIC = '/kitti/camera_color_left/camera_info'


def convert(folder, out, *argv):
    """Run the command; return the numbers of messages by topic."""
    assert kitti_to_bag.main([str(folder), str(out), *argv]) == 0
    with BagReader(out) as reader:
        return {topic.name: topic.count for topic in reader.topics.values()}


def refusal(folder, out, *argv):
    """Run the command, which must refuse and leave nothing; return its line."""
    before = set(out.parent.iterdir())
    with pytest.raises(SystemExit) as caught:
        kitti_to_bag.main([str(folder), str(out), *argv])
    assert set(out.parent.iterdir()) == before
    text = str(caught.value)
    assert text.startswith('kitti_to_bag: ')
    assert '\n' not in text
    return text


def test_summary_names_frames_sizes_and_times(tmp_path, capsys):
    found = convert(raw_drive(tmp_path), tmp_path / 'bag')
    assert found == {IMAGE_TOPIC: 4, INFO_TOPIC: 4}
    printed = capsys.readouterr()
    assert 'raw drive, 4 frames of 200 x 60 in 3.000 s, 0 bad frames left out' in printed.out
    assert '4/4' in printed.err
    # The test's frames are smaller than those of the calibration.
    text = 'the calibration is for frames of 1242 x 375: CameraInfo does not fit these frames'
    assert text in printed.out


def test_frames_without_camera_info_are_printed(tmp_path, capsys):
    road = road_folder(tmp_path, ['um_000000', 'um_000001'])
    (road / 'training/calib/um_000001.txt').unlink()
    assert convert(road, tmp_path / 'bag', '--rate', '2') == {IMAGE_TOPIC: 2, INFO_TOPIC: 1}
    printed = capsys.readouterr().out
    assert '2 frames of 200 x 60 in 0.500 s' in printed
    assert '1 frames have no calibration and so no CameraInfo' in printed


def test_options_reach_the_converter(tmp_path):
    names = ('--image-topic', '/image', '--camera-info-topic', '/info', '--frame-id', 'front')
    argv = (*names, '--compressed', '--start', '1', '--end', '2', '--storage', 'sqlite3')
    assert convert(raw_drive(tmp_path), tmp_path / 'bag', *argv) == {
        '/image/compressed': 2,
        '/info': 2,
    }
    assert (tmp_path / 'bag/bag.db3').is_file()
    (_, first), *_ = parsed_messages(tmp_path / 'bag')['/info']
    assert first.header.frame_id == 'front'


def test_bad_frame_is_refused_in_one_line_and_left_out_with_skip_bad(tmp_path, capsys):
    drive = raw_drive(tmp_path)
    (drive / 'image_02/data/0000000001.png').unlink()
    text = refusal(drive, tmp_path / 'bag')
    assert 'has no image; repair it, or skip such frames with --skip-bad' in text
    assert convert(drive, tmp_path / 'bag', '--skip-bad')[IMAGE_TOPIC] == 3
    printed = capsys.readouterr().out
    assert re.search(r'left out: frame 1 \(.*\) has no image', printed)
    assert '3 frames of 200 x 60 in 3.000 s, 1 bad frames left out' in printed


def test_many_bad_frames_are_counted_and_not_all_listed(tmp_path, capsys):
    drive = raw_drive(tmp_path, count=20)
    for file in sorted((drive / 'image_02/data').iterdir())[1:]:
        file.unlink()
    convert(drive, tmp_path / 'bag', '--skip-bad')
    printed = capsys.readouterr().out
    assert printed.count('has no image') == 10
    assert 'left out: 9 more' in printed
    assert '1 frames of 200 x 60 in 0.000 s, 19 bad frames left out' in printed


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (('--start', '-1'), "--start: '-1' is not a whole number of at least 0"),
        (('--end', '-1'), "--end: '-1' is not a whole number of at least 0"),
        (('--rate', '0'), "--rate: '0' is not a positive number, such as 10"),
        (('--rate', 'inf'), "--rate: 'inf' is not a positive number, such as 10"),
        (('--rate', 'nan'), "--rate: 'nan' is not a positive number, such as 10"),
        (
            ('--image-topic', 'image_raw'),
            "'image_raw' is not an absolute topic name, such as /kitti",
        ),
        (('--image-topic', '/a//b'), 'is not an absolute topic name'),
        (('--storage', 'bag'), 'invalid choice'),
    ],
)
def test_argument_that_makes_no_sense_is_refused(tmp_path, capsys, argv, reason):
    with pytest.raises(SystemExit) as caught:
        kitti_to_bag.main(['IN', str(tmp_path / 'bag'), *argv])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_existing_bag_is_kept(tmp_path):
    drive = raw_drive(tmp_path)
    convert(drive, tmp_path / 'bag')
    assert 'already exists' in refusal(drive, tmp_path / 'bag')


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_leaves_nothing(tmp_path, signal_number):
    drive = raw_drive(tmp_path, count=1)
    data = drive / 'image_02/data'
    # Long enough to be interrupted.
    for i in range(1, 3000):
        (data / f'{i:010}.png').hardlink_to(data / '0000000000.png')
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(timestamps(1) * 3000))
    out = tmp_path / 'out'
    out.mkdir()
    line = command_line('kitti_to_bag', drive, out / 'bag')
    last = interrupted(line, out / 'bag.part/bag/bag.mcap', signal_number)
    assert last == f'kitti_to_bag: interrupted; {out}/bag was not written'
    assert list(out.iterdir()) == []


def test_it_runs_where_neither_ros_nor_torch_can_be_imported(tmp_path):
    absent = ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'cv_bridge', 'torch')
    argv = (road_folder(tmp_path), tmp_path / 'bag')
    subprocess.run(command_line('kitti_to_bag', *argv, absent=absent), check=True)
    assert (tmp_path / 'bag/metadata.yaml').is_file()


@pytest.mark.parametrize('absent', ['rosbags', 'mcap'])
@pytest.mark.parametrize('command', ['kitti_to_bag', 'segment_bag'])
def test_missing_package_is_one_line_with_the_remedy(tmp_path, command, absent):
    source = road_folder(tmp_path)
    if command == 'segment_bag':
        # What it looks for in a folder to take it for a bag.
        (source / 'metadata.yaml').touch()
    line = command_line(command, source, tmp_path / 'bag', absent=(absent,))
    ended = subprocess.run(line, capture_output=True, text=True)
    assert ended.returncode == 1
    (text,) = ended.stderr.splitlines()
    assert text.startswith(f'{command}: rosbags or mcap cannot be used')
    assert "pip install mcap 'rosbags" in text
