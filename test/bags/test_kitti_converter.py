import re
import shutil

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest

pytest.importorskip('rosbags', reason='rosbags is not installed')

from fcn_road_seg.bags.kitti_converter import (
    ConversionOptions,
    FrameError,
    KittiConverter,
)
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.datasets.kitti_sequences import find_sequence
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
FIRST_NS = 1_317_042_145_964_389_445
TYPES = {IMAGE: Image, COMPRESSED_IMAGE: CompressedImage, CAMERA_INFO: CameraInfo}


def convert(folder, out, rate_hz=None, storage='mcap', **options):
    """Convert; return the bag's messages by topic, as ROS reads them with times, and counts."""
    sequence = find_sequence(folder, rate_hz)
    with atomic_bag_writer(out, storage) as bag:
        converter = KittiConverter(sequence, bag, ConversionOptions(**options))
        converter.run()
    with BagReader(out) as reader:
        found = {topic: [] for topic in reader.topics}
        for m in reader.messages(reader.topics):
            found[m.topic].append((m.time_ns, deserialize_message(m.cdr, TYPES[m.type])))
    return found, converter.counts


def stamp_ns(msg):
    return msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_frames_of_a_raw_drive_keep_their_pixels_and_stamps(tmp_path, storage):
    found, _ = convert(raw_drive(tmp_path), tmp_path / 'bag', storage=storage)
    assert set(found) == {IMAGE_TOPIC, INFO_TOPIC}
    for i, ((time_ns, msg), frame) in enumerate(zip(found[IMAGE_TOPIC], rendered(4), strict=True)):
        assert stamp_ns(msg) == time_ns == FIRST_NS + i * 1_000_000_007
        assert msg.header.frame_id == 'camera_color_left_optical_frame'
        assert (msg.height, msg.width, msg.step, msg.encoding) == (60, 200, 600, 'bgr8')
        assert np.array_equal(np.frombuffer(msg.data, np.uint8).reshape(60, 200, 3), frame)


def test_frames_their_times_and_their_sizes_are_counted(tmp_path):
    _, counts = convert(raw_drive(tmp_path), tmp_path / 'bag')
    assert (counts.frames, counts.without_camera_info, counts.bad) == (4, 0, [])
    assert (counts.first_ns, counts.last_ns) == (FIRST_NS, FIRST_NS + 3_000_000_021)
    assert counts.sizes_wh == {(200, 60)}
    # The test's frames are smaller than those of the calibration.
    assert counts.calibrated_wh == (1242, 375)


def test_camera_info_has_the_header_of_its_image(tmp_path):
    found, _ = convert(raw_drive(tmp_path), tmp_path / 'bag')
    pairs = zip(found[IMAGE_TOPIC], found[INFO_TOPIC], strict=True)
    for (image_ns, image), (info_ns, info) in pairs:
        assert image_ns == info_ns
        assert info.header == image.header
        assert (info.height, info.width, info.distortion_model) == (60, 200, 'plumb_bob')
        assert list(info.p) == P2
        assert list(info.k) == [721.5377, 0, 609.5593, 0, 721.5377, 172.854, 0, 0, 1]
        assert list(info.d) == [0] * 5
        assert list(info.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        assert (info.binning_x, info.binning_y) == (0, 0)
        assert info.roi == RegionOfInterest()


def test_camera_info_of_an_extracted_drive_rectifies_with_opencv(tmp_path):
    drive = raw_drive(tmp_path, kind='extract')
    shutil.rmtree(drive / 'image_02/data')
    write_images(drive / 'image_02/data', [f'{i:010}.png' for i in range(4)], (512, 1392))
    found, counts = convert(drive, tmp_path / 'bag')
    assert counts.calibrated_wh is None  # The frames have the size of the calibration.
    _, info = found[INFO_TOPIC][0]
    assert (info.height, info.width) == (512, 1392)
    k, r, p = (np.array(m).reshape(3, -1) for m in (info.k, info.r, info.p))
    # As in KITTI's pairs of raw and rectified frames, the middle stays near the middle, at the
    # rectified size of 1242 x 375.
    pixel = cv2.undistortPoints(np.array([[[696.0, 224.2]]]), k, np.array(info.d), R=r, P=p)
    assert 550 < pixel[0, 0, 0] < 650
    assert 140 < pixel[0, 0, 1] < 210


@pytest.mark.parametrize(
    ('suffix', 'kind'), [('.png', 'png'), ('.jpg', 'jpeg'), ('.JPEG', 'jpeg')]
)
def test_compressed_keeps_the_files_own_bytes(tmp_path, suffix, kind):
    drive = raw_drive(tmp_path, suffix=suffix)
    found, _ = convert(drive, tmp_path / 'bag', compressed=True)
    assert set(found) == {f'{IMAGE_TOPIC}/compressed', INFO_TOPIC}
    files = sorted((drive / 'image_02/data').iterdir())
    for (_, msg), file in zip(found[f'{IMAGE_TOPIC}/compressed'], files, strict=True):
        assert msg.format == kind
        assert bytes(msg.data) == file.read_bytes()
        assert msg.header.frame_id == 'camera_color_left_optical_frame'


def test_odometry_sequence_has_its_exact_times(tmp_path):
    folder = odometry_sequence(tmp_path, ['0.000000e+00', '1.037513e-01', '2.075026e-01'])
    found, _ = convert(folder, tmp_path / 'bag')
    assert [stamp_ns(msg) for _, msg in found[IMAGE_TOPIC]] == [0, 103_751_300, 207_502_600]
    assert list(found[INFO_TOPIC][0][1].p) == ODOMETRY_P2


@pytest.fixture
def road_without_one_calibration(tmp_path):
    road = road_folder(tmp_path, ['um_000000', 'um_000001', 'uu_000000'])
    (road / 'training/calib/um_000001.txt').unlink()
    return road


def test_road_frames_have_the_stamps_of_the_rate(tmp_path, road_without_one_calibration):
    found, _ = convert(road_without_one_calibration, tmp_path / 'bag', rate_hz=2.0)
    assert [time_ns for time_ns, _ in found[IMAGE_TOPIC]] == [0, 500_000_000, 1_000_000_000]


def test_road_frame_without_calibration_has_no_camera_info(tmp_path, road_without_one_calibration):
    found, counts = convert(road_without_one_calibration, tmp_path / 'bag', rate_hz=2.0)
    assert [time_ns for time_ns, _ in found[INFO_TOPIC]] == [0, 1_000_000_000]
    assert counts.without_camera_info == 1


def test_road_frames_may_differ_in_size(tmp_path):
    road = road_folder(tmp_path)
    assert cv2.imwrite(str(road / 'training/image_2/umm_000004.png'), np.zeros((61, 199, 3)))
    found, _ = convert(road, tmp_path / 'bag')
    for topic in (IMAGE_TOPIC, INFO_TOPIC):
        assert [(m.height, m.width) for _, m in found[topic]] == [(60, 200), (61, 199)]


def test_start_and_end_are_frame_numbers_and_both_included(tmp_path):
    found, _ = convert(raw_drive(tmp_path), tmp_path / 'bag', start=1, end=2)
    assert [time_ns % 10 for time_ns, _ in found[IMAGE_TOPIC]] == [2, 9]


def test_range_without_a_frame_is_an_error_that_names_the_frames(tmp_path):
    text = 'no frame is within --start and --end; the frames are 0 to 3'
    with pytest.raises(FrameError, match=text):
        convert(raw_drive(tmp_path), tmp_path / 'bag', start=4)
    assert not (tmp_path / 'bag').exists()


def test_camera_info_is_beside_the_image_topic(tmp_path):
    options = {'image_topic': '/front/image', 'frame_id': 'front_optical_frame'}
    found, _ = convert(raw_drive(tmp_path), tmp_path / 'bag', **options)
    assert set(found) == {'/front/image', '/front/camera_info'}
    assert found['/front/camera_info'][0][1].header.frame_id == 'front_optical_frame'


def test_compressed_topic_ends_in_compressed_and_camera_info_can_be_named(tmp_path):
    options = {'image_topic': '/image', 'camera_info_topic': '/info', 'compressed': True}
    found, _ = convert(raw_drive(tmp_path), tmp_path / 'bag', **options)
    assert set(found) == {'/image/compressed', '/info'}


def remove_image(drive):
    (drive / 'image_02/data/0000000001.png').unlink()
    return r'frame 1 \(.*\) has no image'


def remove_time(drive):
    lines = timestamps(4)
    lines[1] = ''
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(lines))
    return r'frame 1 \(.*0000000001\.png\) has no time'


def move_to_2111(drive):
    text = (drive / 'image_02/timestamps.txt').read_text().splitlines()
    text[1] = text[1].replace('2011', '2111')
    (drive / 'image_02/timestamps.txt').write_text('\n'.join(text))
    return r'frame 1 .* ns, which is not a valid timestamp'


def cut_image(drive):
    file = drive / 'image_02/data/0000000001.png'
    file.write_bytes(file.read_bytes()[:1000])
    return r'frame 1 .* cannot be read: PNG data of 1000 bytes is cut off or damaged'


def change_size(drive):
    assert cv2.imwrite(str(drive / 'image_02/data/0000000001.png'), np.zeros((60, 201, 3)))
    return r'frame 1 .* is 201 x 60, but earlier frames are 200 x 60'


SPOILERS = (remove_image, remove_time, move_to_2111, cut_image, change_size)


@pytest.mark.parametrize('spoil', SPOILERS)
@pytest.mark.parametrize('compressed', [False, True])
def test_bad_frame_is_an_error_that_names_it_and_the_remedy(tmp_path, spoil, compressed):
    drive = raw_drive(tmp_path)
    reason = spoil(drive)
    with pytest.raises(FrameError) as caught:
        convert(drive, tmp_path / 'bag', compressed=compressed)
    text = str(caught.value)
    assert re.search(f'^{reason}; repair it, or skip such frames with --skip-bad$', text)
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize('spoil', SPOILERS)
@pytest.mark.parametrize('compressed', [False, True])
def test_bad_frame_is_left_out_and_counted_with_skip_bad(tmp_path, spoil, compressed):
    drive = raw_drive(tmp_path)
    reason = spoil(drive)
    found, counts = convert(drive, tmp_path / 'bag', compressed=compressed, skip_bad=True)
    (topic,) = set(found) - {INFO_TOPIC}
    assert [ns - FIRST_NS for ns, _ in found[topic]] == [0, 2_000_000_014, 3_000_000_021]
    assert len(found[INFO_TOPIC]) == counts.frames == 3
    (text,) = counts.bad
    assert re.search(f'^{reason}', text)


def test_drive_of_bad_frames_alone_gives_no_bag(tmp_path):
    drive = raw_drive(tmp_path)
    for file in (drive / 'image_02/data').iterdir():
        file.write_bytes(b'')
    with pytest.raises(
        FrameError, match=r'no frame can be used; frame 0 \(.* neither JPEG nor PNG'
    ):
        convert(drive, tmp_path / 'bag', skip_bad=True)
    assert not (tmp_path / 'bag').exists()
