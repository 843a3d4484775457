import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.demo.frames import (
    DemoError,
    bag_messages,
    image_messages,
    rendered_messages,
)
from test.helpers.camera_bags import jpeg_msgs, raw_msgs, write_bag

FRAMES = [np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8) for i in range(3)]


def test_image_folder_is_read_in_order_whatever_the_sizes(tmp_path):
    for name, hw in (('b.png', (4, 6)), ('a.jpg', (5, 9)), ('c.png', (3, 3))):
        cv2.imwrite(str(tmp_path / name), np.zeros((*hw, 3), np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    messages = image_messages(tmp_path, limit=2)
    assert [message.frame_bgr().shape for message in messages] == [(5, 9, 3), (4, 6, 3)]
    assert all(message.label is None for message in messages)


def test_folder_without_an_image_is_refused(tmp_path):
    with pytest.raises(DemoError, match='holds no image'):
        image_messages(tmp_path)


def test_image_that_is_not_readable_is_refused(tmp_path):
    (tmp_path / 'x.png').write_text('no picture')
    with pytest.raises(DatasetError, match=r'x.png cannot be read: .* neither JPEG nor PNG'):
        image_messages(tmp_path)


def test_image_that_is_cut_off_is_refused(tmp_path):
    data = cv2.imencode('.jpg', FRAMES[0])[1].tobytes()
    (tmp_path / 'x.jpg').write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(DatasetError, match=r'x\.jpg cannot be read: JPEG data .* is cut off'):
        image_messages(tmp_path)


def test_rendered_frames_carry_their_labels():
    (message,) = rendered_messages(1, seed=5)
    assert message.frame_bgr().shape == (*message.label.shape, 3) == (375, 1242, 3)
    assert 0 < (message.label == 1).mean() < 1


def test_rendered_frames_are_those_of_a_30_hz_camera():
    assert [m.offset_s for m in rendered_messages(3, seed=5)] == pytest.approx([0, 1 / 30, 2 / 30])


@pytest.mark.parametrize(
    ('storage', 'compression'),
    [
        ('MCAP', 'NONE'),
        ('SQLITE3', 'NONE'),
        ('SQLITE3', 'MESSAGE'),
        ('SQLITE3', 'FILE'),
    ],
)
def test_messages_of_a_bag_come_unchanged_whatever_holds_them(tmp_path, storage, compression):
    cdrs = [serialize_message(msg) for msg in raw_msgs(FRAMES, 'rgb8')]
    bag = write_bag(tmp_path / 'bag', {'/a': cdrs}, storage=storage, compression=compression)
    messages = bag_messages(bag)
    assert [message.cdr for message in messages] == cdrs
    assert [message.type for message in messages] == [Image] * 3
    assert [message.offset_s for message in messages] == pytest.approx([0, 0.1, 0.2])
    assert all(np.array_equal(s.frame_bgr(), f) for s, f in zip(messages, FRAMES, strict=True))


def test_single_file_of_a_bag_is_enough(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/a': raw_msgs(FRAMES)})
    assert len(bag_messages(bag / 'bag.mcap')) == 3


@pytest.fixture
def bag_of_two_topics(tmp_path):
    topics = {'/b/compressed': jpeg_msgs(FRAMES), '/a': raw_msgs(FRAMES[:1])}
    return write_bag(tmp_path / 'bag', topics)


def test_bag_with_several_topics_asks_for_one(bag_of_two_topics):
    with pytest.raises(DemoError, match=r'choose one with --topic: /a, /b/compressed$'):
        bag_messages(bag_of_two_topics)


def test_topic_that_a_bag_does_not_have_is_refused(bag_of_two_topics):
    text = r'/c has no images; topics with images: (/a, /b/compressed|/b/compressed, /a)$'
    with pytest.raises(DemoError, match=text):
        bag_messages(bag_of_two_topics, '/c')


def test_topics_that_a_node_has_published_need_not_be_told_from_the_cameras(tmp_path):
    masks = raw_msgs(FRAMES[:1])
    bag = write_bag(tmp_path / 'bag', {'/fcn_road_seg/mask': masks, '/a': raw_msgs(FRAMES)})
    assert len(bag_messages(bag)) == 3
    assert len(bag_messages(bag, '/fcn_road_seg/mask')) == 1


def test_messages_are_those_of_the_chosen_topic(bag_of_two_topics):
    messages = bag_messages(bag_of_two_topics, '/b/compressed', limit=2)
    assert [message.type for message in messages] == [CompressedImage] * 2
    assert [message.frame_bgr().shape for message in messages] == [(20, 30, 3)] * 2


def test_messages_that_the_node_would_refuse_are_left_out_and_told(tmp_path, capsys):
    depth = raw_msgs(FRAMES)[0]
    depth.encoding = '32FC1'
    good = raw_msgs(FRAMES)
    bag = write_bag(tmp_path / 'bag', {'/a': [b'no message', depth, good[0], good[1]]})
    messages = bag_messages(bag)
    assert [message.offset_s for message in messages] == pytest.approx([0, 0.1])
    assert np.array_equal(messages[1].frame_bgr(), FRAMES[1])
    told = '2 of 4 messages are left out; first error: 10 bytes are not a valid Image; '
    assert f'{told}record it again' in capsys.readouterr().out


def test_bag_without_images_is_refused(tmp_path):
    empty = write_bag(tmp_path / 'empty', {})
    with pytest.raises(DemoError, match='the bag has no images to segment; its topics: none'):
        bag_messages(empty)


def test_bag_without_a_readable_image_is_refused(tmp_path):
    bad = write_bag(tmp_path / 'bad', {'/a': [b'']})
    text = r'bad has no readable image on /a; give another bag or --topic$'
    with pytest.raises(DemoError, match=text):
        bag_messages(bad)


def test_bag_that_does_not_exist_is_refused(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    with pytest.raises(DemoError, match=r'none does not exist; give the folder or file'):
        bag_messages(tmp_path / 'none')


def test_folder_that_is_not_a_bag_is_refused(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    with pytest.raises(DemoError, match=r'is not a readable rosbag2 .*; give the folder of a bag'):
        bag_messages(tmp_path)


def test_bag_of_ros_1_is_refused_with_the_command_that_converts_it(tmp_path):
    (tmp_path / 'x.bag').touch()
    with pytest.raises(
        DemoError, match=r'is a ROS 1 bag; convert it: rosbags-convert --src .*x.bag'
    ):
        bag_messages(tmp_path / 'x.bag')


def test_missing_rosbags_is_told_with_its_installation(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rosbags.rosbag2', None)
    with pytest.raises(DemoError, match=r'rosbags or mcap cannot be used .*; pip install'):
        bag_messages(tmp_path)


@pytest.fixture(scope='module', params=['MCAP', 'SQLITE3'])
def whole_bag(request, tmp_path_factory):
    """Write a bag and return its data file, with its bytes."""
    folder = tmp_path_factory.mktemp('damaged') / 'bag'
    write_bag(folder, {'/a': raw_msgs(FRAMES)}, storage=request.param)
    (file,) = (path for path in folder.iterdir() if path.name != 'metadata.yaml')
    return file, file.read_bytes()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_damaged_bag_is_read_or_refused_in_one_line(whole_bag, data):
    file, whole = whole_bag
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 20))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(damaged[: data.draw(st.integers(0, len(whole)))])
    try:
        texts = [str(len(bag_messages(file.parent)))]
    except DemoError as error:
        texts = str(error).splitlines()
    assert len(texts) == 1
