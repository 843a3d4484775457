import re
import shutil
import signal
import subprocess

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from fcn_road_seg.commands import kitti_to_bag
from test.helpers.bag_files import command_line, interrupted
from test.helpers.kitti_trees import (
    ODOMETRY_P2,
    P2,
    odometry_sequence,
    raw_drive,
    rendered,
    road_folder,
    timestamps,
    write_images,
)

IMAGE_TOPIC = '/kitti/camera_color_left/image_raw'
INFO_TOPIC = '/kitti/camera_color_left/camera_info'
TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}


def convert(folder, out, *argv):
    """Run the command; return the bag's messages by topic, as ROS reads them, with their times."""
    assert kitti_to_bag.main([str(folder), str(out), *argv]) == 0
    with BagReader(out) as reader:
        found = {topic: [] for topic in reader.topics}
        for m in reader.messages(reader.topics):
            found[m.topic].append((m.time_ns, deserialize_message(m.cdr, TYPES[m.type])))
    return found


def stamp_ns(msg):
    return msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec


def refusal(folder, out, *argv):
    """Run the command, which has to refuse; return why, and see that it leaves nothing."""
    before = set(out.parent.iterdir())
    with pytest.raises(SystemExit) as caught:
        kitti_to_bag.main([str(folder), str(out), *argv])
    assert set(out.parent.iterdir()) == before
    text = str(caught.value)
    assert text.startswith('kitti_to_bag: ')
    assert '\n' not in text
    return text


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_frames_of_a_raw_drive_come_back_with_their_pixels_and_stamps(tmp_path, capsys, storage):
    found = convert(raw_drive(tmp_path), tmp_path / 'bag', '--storage', storage)
    assert set(found) == {IMAGE_TOPIC, INFO_TOPIC}
    for i, ((time_ns, msg), frame) in enumerate(zip(found[IMAGE_TOPIC], rendered(4), strict=True)):
        assert stamp_ns(msg) == time_ns == 1_317_042_145_964_389_445 + i * 1_000_000_007
        assert msg.header.frame_id == 'camera_color_left_optical_frame'
        assert (msg.height, msg.width, msg.step, msg.encoding) == (60, 200, 600, 'bgr8')
        assert np.array_equal(np.frombuffer(msg.data, np.uint8).reshape(60, 200, 3), frame)
    printed = capsys.readouterr()
    assert 'raw drive, 4 frames of 200 x 60 in 3.000 s, 0 bad ones left out' in printed.out
    assert '4/4' in printed.err
    # The frames are smaller than the drives' own, for the tests' sake.
    assert 'calibration is for frames of 1242 x 375: CameraInfo does not fit these' in printed.out


def test_camera_info_lies_beside_each_image_under_its_stamp(tmp_path):
    found = convert(raw_drive(tmp_path), tmp_path / 'bag')
    pairs = zip(found[IMAGE_TOPIC], found[INFO_TOPIC], strict=True)
    for (image_ns, image), (info_ns, info) in pairs:
        assert image_ns == info_ns
        assert info.header == image.header
        assert (info.height, info.width, info.distortion_model) == (60, 200, 'plumb_bob')
        assert list(info.p) == P2
        assert list(info.k) == [721.5377, 0, 609.5593, 0, 721.5377, 172.854, 0, 0, 1]
        assert list(info.d) == [0] * 5
        assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        assert (info.binning_x, info.roi.width, info.roi.do_rectify) == (0, 0, False)


def test_camera_info_of_an_extracted_drive_undoes_what_opencv_says(tmp_path):
    drive = raw_drive(tmp_path, kind='extract')
    shutil.rmtree(drive / 'image_02/data')
    write_images(drive / 'image_02/data', [f'{i:010}.png' for i in range(4)], (512, 1392))
    ((_, info), *_) = convert(drive, tmp_path / 'bag')[INFO_TOPIC]
    assert (info.height, info.width) == (512, 1392)
    k, r, p = (np.array(m).reshape(3, -1) for m in (info.k, info.r, info.p))
    # Of KITTI's pair of raw and rectified picture: the middle stays near the middle, and comes
    # into the rectified size of 1242 x 375.
    pixel = cv2.undistortPoints(np.array([[[696.0, 224.2]]]), k, np.array(info.d), R=r, P=p)
    assert 550 < pixel[0, 0, 0] < 650
    assert 140 < pixel[0, 0, 1] < 210


@pytest.mark.parametrize(
    ('suffix', 'kind'), [('.png', 'png'), ('.jpg', 'jpeg'), ('.JPEG', 'jpeg')]
)
def test_compressed_keeps_the_files_own_bytes(tmp_path, suffix, kind):
    drive = raw_drive(tmp_path, suffix=suffix)
    found = convert(drive, tmp_path / 'bag', '--compressed')
    assert set(found) == {f'{IMAGE_TOPIC}/compressed', INFO_TOPIC}
    files = sorted((drive / 'image_02/data').iterdir())
    for (_, msg), file in zip(found[f'{IMAGE_TOPIC}/compressed'], files, strict=True):
        assert msg.format == kind
        assert bytes(msg.data) == file.read_bytes()
        assert msg.header.frame_id == 'camera_color_left_optical_frame'


def test_odometry_sequence_has_its_exact_times(tmp_path):
    folder = odometry_sequence(tmp_path, ['0.000000e+00', '1.037513e-01', '2.075026e-01'])
    found = convert(folder, tmp_path / 'bag')
    assert [stamp_ns(msg) for _, msg in found[IMAGE_TOPIC]] == [0, 103_751_300, 207_502_600]
    assert list(found[INFO_TOPIC][0][1].p) == ODOMETRY_P2


def test_road_folder_has_the_rates_stamps_and_a_camera_info_where_there_is_one(tmp_path, capsys):
    road = road_folder(tmp_path, ['um_000000', 'um_000001', 'uu_000000'])
    (road / 'training/calib/um_000001.txt').unlink()
    found = convert(road, tmp_path / 'bag', '--rate', '2')
    assert [time_ns for time_ns, _ in found[IMAGE_TOPIC]] == [0, 500_000_000, 1_000_000_000]
    assert [time_ns for time_ns, _ in found[INFO_TOPIC]] == [0, 1_000_000_000]
    assert '1 frames have no calibration, and no CameraInfo' in capsys.readouterr().out


def test_road_frames_may_differ_in_size(tmp_path):
    road = road_folder(tmp_path)
    assert cv2.imwrite(str(road / 'training/image_2/umm_000004.png'), np.zeros((61, 199, 3)))
    found = convert(road, tmp_path / 'bag')
    for topic in (IMAGE_TOPIC, INFO_TOPIC):
        assert [(m.height, m.width) for _, m in found[topic]] == [(60, 200), (61, 199)]


def test_start_and_end_are_frame_numbers_and_both_included(tmp_path):
    drive = raw_drive(tmp_path)
    found = convert(drive, tmp_path / 'bag', '--start', '1', '--end', '2')
    assert [time_ns % 10 for time_ns, _ in found[IMAGE_TOPIC]] == [2, 9]
    text = refusal(drive, tmp_path / 'x', '--start', '4')
    assert 'no frame is from --start to --end; there are 0 to 3' in text


def test_topics_and_frame_id_can_be_named(tmp_path):
    drive = raw_drive(tmp_path)
    names = ('--image-topic', '/front/image', '--frame-id', 'front_optical_frame')
    found = convert(drive, tmp_path / 'bag', *names)
    assert set(found) == {'/front/image', '/front/camera_info'}
    assert found['/front/camera_info'][0][1].header.frame_id == 'front_optical_frame'
    names = ('--image-topic', '/image', '--camera-info-topic', '/info', '--compressed')
    found = convert(drive, tmp_path / 'other', *names)
    assert set(found) == {'/image/compressed', '/info'}


def spoil_number(drive):
    (drive / 'image_02/data/0000000001.png').unlink()
    return r'frame 1 \(.*\) has no image'


def spoil_time(drive):
    lines = timestamps(4)
    lines[1] = ''
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(lines))
    return r'frame 1 \(.*0000000001\.png\) has no time'


def spoil_date(drive):
    text = (drive / 'image_02/timestamps.txt').read_text().splitlines()
    text[1] = text[1].replace('2011', '2111')
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(text))
    return r'frame 1 .* ns, which does not fit a stamp'


def spoil_picture(drive):
    file = drive / 'image_02/data/0000000001.png'
    file.write_bytes(file.read_bytes()[:1000])
    return r'frame 1 .* cannot be read: PNG data of 1000 bytes is cut off or damaged'


def spoil_size(drive):
    assert cv2.imwrite(str(drive / 'image_02/data/0000000001.png'), np.zeros((60, 201, 3)))
    return r'frame 1 .* is 201 x 60, unlike those before, 200 x 60'


SPOILERS = (spoil_number, spoil_time, spoil_date, spoil_picture, spoil_size)


@pytest.mark.parametrize('spoil', SPOILERS)
@pytest.mark.parametrize('compressed', [(), ('--compressed',)])
def test_bad_frame_is_an_error_or_left_out_and_counted(tmp_path, capsys, spoil, compressed):
    drive = raw_drive(tmp_path)
    reason = spoil(drive)
    text = refusal(drive, tmp_path / 'bag', *compressed)
    assert re.search(f'{reason}; mend it, or leave such frames out with --skip-bad', text)
    found = convert(drive, tmp_path / 'bag', '--skip-bad', *compressed)
    (topic,) = set(found) - {INFO_TOPIC}
    first_ns = 1_317_042_145_964_389_445
    assert [ns - first_ns for ns, _ in found[topic]] == [0, 2_000_000_014, 3_000_000_021]
    assert len(found[INFO_TOPIC]) == 3
    printed = capsys.readouterr().out
    assert re.search(f'left out: {reason}', printed)
    assert '3 frames of 200 x 60 in 3.000 s, 1 bad ones left out' in printed


def test_drive_of_bad_frames_alone_gives_no_bag(tmp_path):
    drive = raw_drive(tmp_path)
    for file in (drive / 'image_02/data').iterdir():
        file.write_bytes(b'')
    text = refusal(drive, tmp_path / 'bag', '--skip-bad')
    assert 'no frame can be used; frame 0 (' in text
    assert 'begins with nothing, which is neither JPEG nor PNG' in text


def test_many_bad_frames_are_counted_and_not_all_listed(tmp_path, capsys):
    drive = raw_drive(tmp_path, count=20)
    for file in sorted((drive / 'image_02/data').iterdir())[1:]:
        file.unlink()
    convert(drive, tmp_path / 'bag', '--skip-bad')
    printed = capsys.readouterr().out
    assert printed.count('has no image') == 10
    assert 'left out: 9 more' in printed
    assert '1 frames of 200 x 60 in 0.000 s, 19 bad ones left out' in printed


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (('--rate', '0'), "'0' is no rate above 0"),
        (('--rate', 'nan'), "'nan' is no rate above 0"),
        (('--image-topic', 'image_raw'), "'image_raw' is no topic such as /kitti"),
        (('--image-topic', '/a//b'), 'is no topic such as'),
        (('--storage', 'bag'), 'invalid choice'),
    ],
)
def test_argument_that_makes_no_sense_is_refused(tmp_path, capsys, argv, reason):
    with pytest.raises(SystemExit) as caught:
        kitti_to_bag.main(['IN', str(tmp_path / 'bag'), *argv])
    assert caught.value.code == 2
    assert reason in capsys.readouterr().err


def test_bag_that_is_there_already_is_kept(tmp_path):
    drive = raw_drive(tmp_path)
    convert(drive, tmp_path / 'bag')
    assert 'is there already' in refusal(drive, tmp_path / 'bag')


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing(tmp_path, signal_number):
    drive = raw_drive(tmp_path, count=1)
    data = drive / 'image_02/data'
    # Enough work to be interrupted in.
    for i in range(1, 3000):
        (data / f'{i:010}.png').hardlink_to(data / '0000000000.png')
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(timestamps(1) * 3000))
    out = tmp_path / 'out'
    out.mkdir()
    line = command_line('kitti_to_bag', drive, out / 'bag')
    last = interrupted(line, out / 'bag.part/bag/bag.mcap', signal_number)
    assert last == f'kitti_to_bag: interrupted; {out}/bag is not written'
    assert list(out.iterdir()) == []


def test_it_runs_where_neither_ros_nor_torch_can_be_imported(tmp_path):
    absent = ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'cv_bridge', 'torch')
    argv = (road_folder(tmp_path), tmp_path / 'bag')
    subprocess.run(command_line('kitti_to_bag', *argv, absent=absent), check=True)
    assert (tmp_path / 'bag/metadata.yaml').is_file()


@pytest.mark.parametrize('command', ['kitti_to_bag', 'segment_bag'])
def test_missing_rosbags_is_told_in_one_line_with_the_remedy(tmp_path, command):
    line = command_line(command, road_folder(tmp_path), tmp_path / 'bag', absent=('rosbags',))
    ended = subprocess.run(line, capture_output=True, text=True)
    assert ended.returncode == 1
    (text,) = ended.stderr.splitlines()
    assert text.startswith(f'{command}: rosbags cannot be used')
    assert "pip install 'rosbags" in text
