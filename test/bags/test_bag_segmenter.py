from types import SimpleNamespace

import numpy as np
import pytest

from fcn_road_seg.bags.bag_segmenter import BagSegmenter, camera_topics
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import IMAGE, BagError
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.inference.segmenter import RoadSegmenter
from test.helpers.bag_files import (
    STAMP_NS,
    STEP_NS,
    claim_messages,
    compressed_image,
    drive_images,
    image,
    parsed_messages,
    write_bag,
    write_compressed_bag,
    write_humble_bag,
)
from test.helpers.kitti_trees import HALF_ROAD_THRESHOLD, rendered


@pytest.fixture(scope='module')
def segmenter(random_checkpoint_path):
    segmenter = RoadSegmenter(random_checkpoint_path, 'cpu')
    segmenter.threshold = HALF_ROAD_THRESHOLD
    return segmenter


@pytest.fixture
def segment(tmp_path, segmenter):
    """Segment a bag; return messages by topic, counts, and the lines about topics left out."""

    def segment(path, *outputs, topics=(), originals=False, show=None):
        out = tmp_path / 'out'
        with BagReader(path) as reader, atomic_bag_writer(out, 'mcap') as bag:
            cameras = camera_topics(reader.topics, topics)
            work = BagSegmenter(reader, bag, segmenter, cameras, ('mask', *outputs), show)
            left_out = work.copy_originals() if originals else []
            work.run()
        return SimpleNamespace(
            messages=parsed_messages(out), counts=work.counts, left_out=left_out
        )

    return segment


@pytest.fixture
def bad_and_good(tmp_path):
    """Write a bag of seven images, of which 0, 2 and 4 are good."""
    images = drive_images(5)
    images[1] = image(STAMP_NS + STEP_NS, encoding='nonsense')
    images[3] = image(STAMP_NS + 3 * STEP_NS, height=0)
    with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
        bag.add('/image', IMAGE)
        for index, msg in enumerate(images):
            bag.write('/image', STAMP_NS + index * STEP_NS, msg)
        for index in range(2):
            bag.write('/image', STAMP_NS + (5 + index) * STEP_NS, b'\x00\x01\x00\x00garbage')
    return tmp_path / 'bag'


def pixels_of(msg):
    return msg.data.reshape(msg.height, msg.width, -1)


def test_mask_keeps_stamp_and_size_of_its_frame_and_is_the_segmenters(
    tmp_path, segment, segmenter
):
    frames = [*rendered(2), rendered(1, (75, 130))[0]]
    images = [image(STAMP_NS + i * STEP_NS, frame) for i, frame in enumerate(frames)]
    found = segment(write_bag(tmp_path / 'bag', {'/camera/image_raw': images})).messages
    assert list(found) == ['/fcn_road_seg/mask']
    masks = found['/fcn_road_seg/mask']
    for (time_ns, mask), source, frame in zip(masks, images, frames, strict=True):
        assert mask.header == source.header
        assert time_ns == mask.header.stamp.sec * 1_000_000_000 + mask.header.stamp.nanosec
        h, w = frame.shape[:2]
        assert (mask.height, mask.width, mask.step, mask.encoding) == (h, w, w, 'mono8')
        assert np.array_equal(pixels_of(mask)[..., 0], segmenter(frame).mask)
    assert all(0 < mask.data.mean() < 255 for _, mask in masks)


def test_encodings_and_compressed_images_of_one_picture_give_one_mask(tmp_path, segment):
    (frame,) = rendered(1)
    padded = np.zeros((60, 640), np.uint8)
    padded[:, :600] = frame[..., ::-1].reshape(60, 600)
    bag = write_bag(
        tmp_path / 'bag',
        {
            '/raw': [image(pixels=frame)],
            '/rgb': [image(pixels=frame, encoding='rgb8', step=640, data=padded.ravel())],
            '/png/compressed': [compressed_image(frame)],
        },
    )
    found = segment(bag).messages
    assert set(found) == {f'{t}/fcn_road_seg/mask' for t in ('/raw', '/rgb', '/png/compressed')}
    masks = [pixels_of(msg) for ((_, msg),) in found.values()]
    assert 0 < masks[0].mean() < 255
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize('output', ['confidence', 'road_probability'])
def test_confidence_and_road_probability_are_the_segmenters(tmp_path, segment, segmenter, output):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images()})
    found = segment(bag, output).messages
    assert set(found) == {'/fcn_road_seg/mask', f'/fcn_road_seg/{output}'}
    for (_, msg), frame in zip(found[f'/fcn_road_seg/{output}'], rendered(3), strict=True):
        expected = getattr(segmenter(frame, **{output: True}), output)
        assert np.array_equal(pixels_of(msg)[..., 0], expected)
        assert msg.encoding == 'mono8'


def test_overlay_is_the_segmenters_and_is_shown(tmp_path, segment, segmenter):
    shown = []
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images()})
    found = segment(bag, 'overlay', show=shown.append).messages
    assert set(found) == {'/fcn_road_seg/mask', '/fcn_road_seg/overlay'}
    overlays = zip(found['/fcn_road_seg/overlay'], shown, rendered(3), strict=True)
    for (_, msg), picture, frame in overlays:
        expected = segmenter(frame, overlay=True).overlay_bgr
        assert np.array_equal(pixels_of(msg), expected)
        assert np.array_equal(picture, expected)
        assert msg.encoding == 'bgr8'


def test_overlay_can_be_shown_and_not_written(tmp_path, segment):
    shown = []
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images()})
    assert list(segment(bag, show=shown.append).messages) == ['/fcn_road_seg/mask']
    assert [picture.shape for picture in shown] == [(60, 200, 3)] * 3


def test_recorded_masks_are_not_segmented_and_are_replaced_by_new_ones(tmp_path, segment):
    old = image(pixels=np.full((60, 200), 7, np.uint8), encoding='mono8')
    topics = {'/image': drive_images(), '/fcn_road_seg/mask': [old], '/fcn_road_seg/x': [old]}
    done = segment(write_bag(tmp_path / 'bag', topics), originals=True)
    assert {topic: len(items) for topic, items in done.messages.items()} == {
        '/image': 3,
        '/fcn_road_seg/mask': 3,
        '/fcn_road_seg/x': 1,
    }
    assert not any(7 in mask.data for _, mask in done.messages['/fcn_road_seg/mask'])
    assert done.left_out == ['/fcn_road_seg/mask is left out: an output has the same name']
    assert (done.counts.segmented, done.counts.errors) == (3, {})


def test_topics_can_be_named(tmp_path, segment):
    images = {'/a': drive_images(2), '/b': drive_images(3), '/c': drive_images(1)}
    found = segment(write_bag(tmp_path / 'bag', images), topics=('/a', '/b', '/a')).messages
    counts = {topic: len(items) for topic, items in found.items()}
    assert counts == {'/a/fcn_road_seg/mask': 2, '/b/fcn_road_seg/mask': 3}


def test_topic_without_a_message_is_not_a_camera(tmp_path, segment):
    bag = write_bag(tmp_path / 'bag', {'/a': [], '/b': drive_images(1)})
    assert list(segment(bag).messages) == ['/fcn_road_seg/mask']


def test_topic_without_images_is_refused_naming_those_with_images(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/a': drive_images(1), '/b': [], '/c': drive_images(1)})
    with (
        BagReader(bag) as reader,
        pytest.raises(BagError, match=r'^/b has no images; topics with images: /a, /c$'),
    ):
        camera_topics(reader.topics, ['/b'])


def test_bag_without_a_camera_says_what_it_has(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/fcn_road_seg/mask': [image()]})
    with (
        BagReader(bag) as reader,
        pytest.raises(BagError, match=r'no images to segment; its topics: /fcn_road_seg/mask$'),
    ):
        camera_topics(reader.topics, [])


def test_good_frames_are_segmented_between_bad_ones(segment, bad_and_good):
    done = segment(bad_and_good)
    times_ns = [time_ns for time_ns, _ in done.messages['/fcn_road_seg/mask']]
    assert [(ns - STAMP_NS) // STEP_NS for ns in times_ns] == [0, 2, 4]
    assert done.counts.segmented == 3


def test_bad_frames_are_counted_by_their_error(segment, bad_and_good):
    errors = segment(bad_and_good).counts.errors
    assert sorted((count, error.partition(' (')[0][:40]) for error, count in errors.items()) == [
        (1, "encoding 'nonsense' is not supported; us"),
        (1, 'size 6 x 0 is outside of 1 to 64000000 p'),
        (2, 'sensor_msgs/msg/Image of 11 bytes is dam'),
    ]


def test_bad_frames_of_several_cameras_name_their_camera(tmp_path, segment):
    images = {'/depth': [image(encoding='16UC2')], '/image': drive_images(1)}
    ((error, count),) = segment(write_bag(tmp_path / 'bag', images)).counts.errors.items()
    assert error.startswith("/depth: encoding '16UC2' is not supported")
    assert count == 1


def test_messages_that_only_the_metadata_has_are_counted(tmp_path, segment):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(3)})
    claim_messages(bag, 3, 5)
    done = segment(bag)
    assert len(done.messages['/fcn_road_seg/mask']) == 3
    assert done.counts.missing == 2


def test_bag_whose_files_lack_all_frames_is_an_error(tmp_path, segment):
    bag = write_bag(tmp_path / 'bag', {'/image': [], '/other': [image()]})
    claim_messages(bag, 0, 5)
    with pytest.raises(BagError, match='none of the 5 frames of the bag can be read: its files'):
        segment(bag, topics=['/image'])
    assert not (tmp_path / 'out').exists()


def test_bag_of_bad_frames_alone_is_an_error_with_the_most_frequent_reason(tmp_path, segment):
    bad = [image(height=0), image(encoding='nonsense'), image(encoding='nonsense')]
    bag = write_bag(tmp_path / 'bag', {'/image': bad})
    text = "none of the 3 frames of the bag can be read: encoding 'nonsense' is not supported"
    with pytest.raises(BagError, match=text):
        segment(bag, originals=True)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
def test_compressed_bag_is_segmented(tmp_path, segment, segmenter, mode):
    bag = write_compressed_bag(tmp_path / 'bag', mode, drive_images())
    masks = segment(bag).messages['/fcn_road_seg/mask']
    for (_, mask), frame in zip(masks, rendered(3), strict=True):
        assert np.array_equal(pixels_of(mask)[..., 0], segmenter(frame).mask)


def test_bag_of_humble_is_segmented_and_its_undefined_types_are_left_out(tmp_path, segment):
    types = {'/image': IMAGE, '/mine': 'mine/msg/Mine'}
    done = segment(write_humble_bag(tmp_path / 'bag', types, rendered(1)[0]), originals=True)
    assert set(done.messages) == {'/image', '/fcn_road_seg/mask'}
    assert done.left_out == [
        '/mine is left out: neither the bag nor ROS defines mine/msg/Mine',
    ]
