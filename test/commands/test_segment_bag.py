import re
import resource
import signal
import subprocess

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import IMAGE
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.commands import kitti_to_bag, segment_bag
from fcn_road_seg.inference.segmenter import RoadSegmenter
from test.helpers.bag_files import (
    STAMP_NS,
    command_line,
    compressed_image,
    image,
    interrupted,
    messages_of,
    write_bag,
    write_compressed_bag,
    write_humble_bag,
)
from test.helpers.kitti_trees import raw_drive, rendered, road_folder
from test.helpers.peer import Peer

STEP_NS = 100_000_000
# About the median of what the random network says of `rendered`: half of each mask is road.
THRESHOLD = 0.615


@pytest.fixture(scope='module')
def segmenter(random_checkpoint_path):
    segmenter = RoadSegmenter(random_checkpoint_path, 'cpu')
    segmenter.threshold = THRESHOLD
    return segmenter


@pytest.fixture
def run(tmp_path, random_checkpoint_path):
    """Run the command: `run(bag, '--overlay')`; return the bag's messages by topic, parsed."""

    def run(path, *argv):
        out = tmp_path / 'out'
        settings = ('--checkpoint', str(random_checkpoint_path), '--threshold', str(THRESHOLD))
        assert segment_bag.main([str(path), str(out), *settings, *argv]) == 0
        with BagReader(out) as reader:
            found = {topic: [] for topic in reader.topics}
            for m in reader.messages(reader.topics):
                found[m.topic].append((m.time_ns, m.parsed()))
        return found

    return run


@pytest.fixture
def refusal(tmp_path):
    """Run the command, which has to refuse; return why, and see that it leaves nothing."""

    def refusal(path, *argv):
        before = set(tmp_path.iterdir())
        with pytest.raises(SystemExit) as caught:
            segment_bag.main([str(path), str(tmp_path / 'out'), *argv])
        assert set(tmp_path.iterdir()) == before
        text = str(caught.value)
        assert text.startswith('segment_bag: ')
        assert '\n' not in text
        return text

    return refusal


def drive(count=3, hw=(60, 200)):
    return [image(STAMP_NS + i * STEP_NS, frame) for i, frame in enumerate(rendered(count, hw))]


def claim(bag, count, claimed):
    """Have metadata.yaml tell of another number of messages than there are."""
    path = bag / 'metadata.yaml'
    text = path.read_text()
    assert f'message_count: {count}' in text
    path.write_text(text.replace(f'message_count: {count}', f'message_count: {claimed}'))


def pixels_of(msg):
    return msg.data.reshape(msg.height, msg.width, -1)


def test_mask_keeps_stamp_and_size_of_its_frame_and_is_the_segmenters(tmp_path, run, segmenter):
    frames = [*rendered(2), rendered(1, (75, 130))[0]]
    images = [image(STAMP_NS + i * STEP_NS, frame) for i, frame in enumerate(frames)]
    found = run(write_bag(tmp_path / 'bag', {'/camera/image_raw': images}))
    assert list(found) == ['/fcn_road_seg/mask']
    masks = found['/fcn_road_seg/mask']
    for (time_ns, mask), source, frame in zip(masks, images, frames, strict=True):
        assert mask.header == source.header
        assert time_ns == mask.header.stamp.sec * 1_000_000_000 + mask.header.stamp.nanosec
        h, w = frame.shape[:2]
        assert (mask.height, mask.width, mask.step, mask.encoding) == (h, w, w, 'mono8')
        assert np.array_equal(pixels_of(mask)[..., 0], segmenter(frame).mask)
    assert all(0 < mask.data.mean() < 255 for _, mask in masks)


def test_live_node_gives_the_same_masks_of_the_same_bag(
    tmp_path, run, start_node, random_checkpoint_path
):
    bag = tmp_path / 'kitti'
    assert kitti_to_bag.main([str(raw_drive(tmp_path)), str(bag)]) == 0
    offline = run(bag, '--overlay')
    start_node(
        *('-p', 'process_every_frame:=true', '-p', 'input_reliability:=reliable'),
        *('-p', f'checkpoint:={random_checkpoint_path}', '-p', f'threshold:={THRESHOLD}'),
    )
    peer = Peer()
    peer.connect()
    images = messages_of(bag, ['/kitti/camera_color_left/image_raw'])
    for item in images:
        peer.publish(deserialize_message(item.cdr, Image))
    for index, item in enumerate(images):
        live = peer.answer(item.time_ns // 1_000_000_000)
        for topic, msg in zip(('mask', 'overlay'), live, strict=True):
            time_ns, made = offline[f'/fcn_road_seg/{topic}'][index]
            assert time_ns == item.time_ns
            assert msg.header.stamp.nanosec == made.header.stamp.nanosec
            assert msg.header.frame_id == made.header.frame_id
            for field in ('height', 'width', 'encoding', 'step', 'is_bigendian'):
                assert getattr(msg, field) == getattr(made, field)
            assert bytes(msg.data) == made.data.tobytes()
    peer.close()
    assert len(images) == 4
    assert all(0 < msg.data.mean() < 255 for _, msg in offline['/fcn_road_seg/mask'])


def test_encodings_and_compressed_images_of_one_picture_give_one_mask(tmp_path, run):
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
    found = run(bag)
    assert set(found) == {f'{t}/fcn_road_seg/mask' for t in ('/raw', '/rgb', '/png/compressed')}
    masks = [pixels_of(msg) for ((_, msg),) in found.values()]
    assert 0 < masks[0].mean() < 255
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_overlay_and_confidence_are_the_segmenters(tmp_path, run, segmenter):
    found = run(write_bag(tmp_path / 'bag', {'/image': drive()}), '--overlay', '--confidence')
    assert set(found) == {f'/fcn_road_seg/{n}' for n in ('mask', 'confidence', 'overlay')}
    for index, frame in enumerate(rendered(3)):
        expected = segmenter(frame, overlay=True)
        _, confidence = found['/fcn_road_seg/confidence'][index]
        assert np.array_equal(pixels_of(confidence)[..., 0], expected.confidence)
        assert confidence.encoding == 'mono8'
        _, overlay = found['/fcn_road_seg/overlay'][index]
        assert np.array_equal(pixels_of(overlay), expected.overlay_bgr)
        assert overlay.encoding == 'bgr8'


def test_threshold_is_that_of_the_command(tmp_path, run):
    bag = write_bag(tmp_path / 'bag', {'/image': drive(1)})
    shares = []
    for threshold in ('0.001', '0.999'):
        ((_, mask),) = run(bag, '--threshold', threshold)['/fcn_road_seg/mask']
        shares.append(mask.data.mean())
        for file in (tmp_path / 'out').iterdir():
            file.unlink()
        (tmp_path / 'out').rmdir()
    assert shares[0] > shares[1]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_originals_are_copied_as_they_are(tmp_path, run, storage):
    road = road_folder(tmp_path)
    assert kitti_to_bag.main([str(road), str(tmp_path / 'bag'), '--storage', storage]) == 0
    found = run(tmp_path / 'bag', '--originals', '--storage', storage)
    topics = [f'/kitti/camera_color_left/{name}' for name in ('image_raw', 'camera_info')]
    assert set(found) == {'/fcn_road_seg/mask', *topics}
    assert messages_of(tmp_path / 'out', topics) == messages_of(tmp_path / 'bag', topics)
    with BagReader(tmp_path / 'bag') as before, BagReader(tmp_path / 'out') as after:
        for topic in topics:
            old, new = before.connection(topic), after.connection(topic)
            assert (new.msgdef, new.digest, new.ext) == (old.msgdef, old.digest, old.ext)


def test_recorded_masks_are_no_cameras_and_give_way_to_those_made_now(tmp_path, run, capsys):
    old = image(pixels=np.full((60, 200), 7, np.uint8), encoding='mono8')
    topics = {'/image': drive(), '/fcn_road_seg/mask': [old], '/fcn_road_seg/overlay': [old]}
    found = run(write_bag(tmp_path / 'bag', topics), '--originals')
    assert {topic: len(items) for topic, items in found.items()} == {
        '/image': 3,
        '/fcn_road_seg/mask': 3,
        '/fcn_road_seg/overlay': 1,
    }
    assert not any(7 in mask.data for _, mask in found['/fcn_road_seg/mask'])
    assert (
        '/fcn_road_seg/mask is left out: what is made now has this name' in capsys.readouterr().out
    )


def test_topics_can_be_named(tmp_path, run):
    bag = write_bag(tmp_path / 'bag', {'/a': drive(2), '/b': drive(3), '/c': drive(1)})
    found = run(bag, '--topics', '/a', '/b', '--topics', '/a')
    counts = {topic: len(items) for topic, items in found.items()}
    assert counts == {'/a/fcn_road_seg/mask': 2, '/b/fcn_road_seg/mask': 3}


def test_topic_without_a_message_is_no_camera(tmp_path, run):
    assert list(run(write_bag(tmp_path / 'bag', {'/a': [], '/b': drive(1)}))) == [
        '/fcn_road_seg/mask'
    ]


def test_bad_frames_are_counted_with_their_reasons_and_the_others_segmented(tmp_path, run, capsys):
    images = drive(5)
    images[1] = image(STAMP_NS + STEP_NS, encoding='nonsense')
    images[3] = image(STAMP_NS + 3 * STEP_NS, height=0)
    with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
        bag.add('/image', IMAGE)
        for index, msg in enumerate(images):
            bag.write('/image', STAMP_NS + index * STEP_NS, msg)
        for index in range(2):
            bag.write('/image', STAMP_NS + (5 + index) * STEP_NS, b'\x00\x01\x00\x00garbage')
    masks = run(tmp_path / 'bag')['/fcn_road_seg/mask']
    assert [(ns - STAMP_NS) // STEP_NS for ns, _ in masks] == [0, 2, 4]
    printed = capsys.readouterr().out
    assert re.search(r"bad: 1 x encoding 'nonsense' is not supported", printed)
    assert re.search(r'bad: 1 x size 6 x 0 is outside of 1 to', printed)
    assert re.search(r'bad: 2 x sensor_msgs/msg/Image of 11 bytes is damaged', printed)
    assert re.search(r'3 frames segmented, 4 bad; \d+\.\d s, \d+\.\d frames/s', printed)


def test_bad_frames_name_their_camera_and_reasons_beyond_the_tenth_are_counted(
    tmp_path, run, capsys
):
    depth = [image(STAMP_NS + i, encoding=f'16UC{i}') for i in range(2, 14)]
    run(write_bag(tmp_path / 'bag', {'/depth': depth, '/image': drive(1)}))
    printed = capsys.readouterr().out
    assert "bad: 1 x /depth: encoding '16UC2' is not supported" in printed
    assert 'bad: 2 more\n' in printed
    assert '1 frames segmented, 12 bad' in printed


def test_messages_that_only_the_metadata_tells_of_are_counted(tmp_path, run, capsys):
    bag = write_bag(tmp_path / 'bag', {'/image': drive(3)})
    claim(bag, 3, 5)
    assert len(run(bag)['/fcn_road_seg/mask']) == 3
    assert 'missing: 2 messages that the bag tells of' in capsys.readouterr().out


def test_bag_whose_files_lack_all_frames_gives_no_bag(tmp_path, refusal, random_checkpoint_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [], '/other': [image()]})
    claim(bag, 0, 5)
    text = refusal(bag, '--topics', '/image', '--checkpoint', str(random_checkpoint_path))
    assert 'none of 5 frames can be read: they are not in its files' in text


def test_bag_of_bad_frames_alone_gives_no_bag(tmp_path, refusal, random_checkpoint_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [image(encoding='nonsense')]})
    text = refusal(bag, '--originals', '--checkpoint', str(random_checkpoint_path))
    assert "none of 1 frames can be read: encoding 'nonsense' is not supported" in text


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
def test_compressed_bag_is_segmented(tmp_path, run, segmenter, mode):
    masks = run(write_compressed_bag(tmp_path / 'bag', mode, drive()))['/fcn_road_seg/mask']
    for (_, mask), frame in zip(masks, rendered(3), strict=True):
        assert np.array_equal(pixels_of(mask)[..., 0], segmenter(frame).mask)


def test_bag_of_humble_is_segmented_and_what_nobody_defines_is_left_out(tmp_path, run, capsys):
    types = {'/image': IMAGE, '/mine': 'mine/msg/Mine'}
    bag = write_humble_bag(tmp_path / 'bag', types, rendered(1)[0])
    found = run(bag, '--originals')
    assert set(found) == {'/image', '/fcn_road_seg/mask'}
    printed = capsys.readouterr().out
    assert '/mine is left out: neither the bag nor ROS defines mine/msg/Mine' in printed


def test_video_shows_every_overlay_at_the_cameras_rate(tmp_path, run, segmenter):
    film = tmp_path / 'film.mp4'
    found = run(write_bag(tmp_path / 'bag', {'/image': drive(5)}), '--video', str(film))
    assert list(found) == ['/fcn_road_seg/mask']
    video = cv2.VideoCapture(str(film))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    for frame in rendered(5):
        read, shown = video.read()
        assert read
        # Coarsely compressed, but nearer to the overlay than to the frame as it was.
        overlay = segmenter(frame, overlay=True).overlay_bgr
        to_overlay, to_frame = (np.abs(shown.astype(int) - p).mean() for p in (overlay, frame))
        assert to_overlay < 0.8 * to_frame
    assert not video.read()[0]


def test_video_of_several_cameras_is_refused(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/a': drive(1), '/b': drive(1)})
    text = refusal(bag, '--video', str(tmp_path / 'film.mp4'))
    assert '--video is of one camera; name it by --topics: /a, /b' in text


def test_what_cannot_be_done_is_told_in_one_line(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/image': drive(1)})
    empty = write_bag(tmp_path / 'other', {'/info': [image()], '/fcn_road_seg/mask': [image()]})
    for path, argv, reason in (
        (tmp_path / 'nowhere', (), 'nowhere does not exist'),
        (bag, ('--topics', '/b'), '/b has no images; topics with images are /image'),
        (empty, ('--topics', '/mask'), 'topics with images are /info, /fcn_road_seg/mask'),
        (bag, ('--checkpoint', '/nowhere.safetensors'), '/nowhere.safetensors does not exist'),
        (bag, ('--device', 'cuda:99'), "device 'cuda:99' does not exist"),
        (bag, ('--input', '100', '100'), '100'),
        (bag, ('--video', 'film.avi'), 'film.avi does not end in .mp4'),
    ):
        assert reason in refusal(path, *argv)


def test_bag_without_a_camera_says_what_it_has(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/fcn_road_seg/mask': [image()]})
    assert 'there are no images to segment; the topics are /fcn_road_seg/mask' in refusal(bag)


@pytest.mark.parametrize('value', ['0', '1', 'nan', 'high'])
def test_threshold_that_is_no_probability_is_refused(tmp_path, capsys, value):
    with pytest.raises(SystemExit) as caught:
        segment_bag.main(['IN', str(tmp_path / 'out'), '--threshold', value])
    assert caught.value.code == 2
    assert 'is no number above 0 and below 1' in capsys.readouterr().err


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing(tmp_path, random_checkpoint_path, signal_number):
    bag = write_bag(tmp_path / 'bag', {'/image': drive(1) * 500})
    out = tmp_path / 'out'
    out.mkdir()
    argv = (bag, out / 'masks', '--checkpoint', random_checkpoint_path, '--video', out / 'a.mp4')
    line = command_line('segment_bag', *argv)
    last = interrupted(line, out / 'masks.part/masks/masks.mcap', signal_number)
    assert last == f'segment_bag: interrupted; {out}/masks is not written'
    assert list(out.iterdir()) == []


def test_full_disk_leaves_nothing_and_is_told_in_one_line(tmp_path, random_checkpoint_path):
    bag = write_bag(tmp_path / 'bag', {'/image': drive(1, (375, 1242)) * 10})
    out = tmp_path / 'out'
    out.mkdir()
    ended = subprocess.run(
        command_line('segment_bag', bag, out / 'masks', '--checkpoint', random_checkpoint_path),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert 'File too large' in ended.stderr.splitlines()[-1]
    assert 'Traceback' not in ended.stderr
    assert list(out.iterdir()) == []


def test_it_runs_where_no_ros_can_be_imported(tmp_path, random_checkpoint_path):
    bag = write_bag(
        tmp_path / 'bag', {'/image': drive(1), '/c': [compressed_image(rendered(1)[0])]}
    )
    absent = ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'cv_bridge')
    argv = (bag, tmp_path / 'out', '--checkpoint', random_checkpoint_path, '--overlay')
    subprocess.run(command_line('segment_bag', *argv, absent=absent), check=True)
    assert len(messages_of(tmp_path / 'out', ['/image/fcn_road_seg/mask'])) == 1
