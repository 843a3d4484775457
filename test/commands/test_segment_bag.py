import re
import resource
import signal
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import IMAGE
from fcn_road_seg.commands import kitti_to_bag, segment_bag
from fcn_road_seg.inference.segmenter import RoadSegmenter
from test.helpers.bag_files import (
    STAMP_NS,
    camera_info,
    claim_messages,
    command_line,
    compressed_image,
    drive_images,
    image,
    interrupted,
    messages_of,
    parsed_messages,
    write_bag,
    write_humble_bag,
)
from test.helpers.kitti_trees import HALF_ROAD_THRESHOLD, raw_drive, rendered, road_folder
from test.helpers.peer import Peer

KITTI_SAMPLE = Path(__file__).parents[3] / 'shared/data/kitti_road_sample'


@pytest.fixture(scope='module')
def segmenter(random_checkpoint_path):
    segmenter = RoadSegmenter(random_checkpoint_path, 'cpu')
    segmenter.threshold = HALF_ROAD_THRESHOLD
    return segmenter


@pytest.fixture
def run(tmp_path, random_checkpoint_path):
    """Run the command: `run(bag, '--overlay')`; return the bag's messages by topic, parsed."""

    def run(path, *argv):
        out = tmp_path / 'out'
        settings = (
            '--checkpoint',
            str(random_checkpoint_path),
            '--threshold',
            str(HALF_ROAD_THRESHOLD),
        )
        assert segment_bag.main([str(path), str(out), *settings, *argv]) == 0
        return parsed_messages(out)

    return run


@pytest.fixture
def refusal(tmp_path):
    """Run the command, which must refuse and leave nothing; return its line."""

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


def test_live_node_gives_the_same_masks_of_the_same_bag(
    tmp_path, run, start_node, random_checkpoint_path
):
    bag = tmp_path / 'kitti'
    assert kitti_to_bag.main([str(raw_drive(tmp_path)), str(bag)]) == 0
    offline = run(bag, '--overlay')
    start_node(
        *('-p', 'process_every_frame:=true', '-p', 'input_reliability:=reliable'),
        *(
            '-p',
            f'checkpoint:={random_checkpoint_path}',
            '-p',
            f'threshold:={HALF_ROAD_THRESHOLD}',
        ),
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


def test_outputs_are_written_as_asked(tmp_path, run):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1)})
    found = run(bag, '--overlay', '--confidence', '--road-probability')
    assert set(found) == {
        f'/fcn_road_seg/{n}' for n in ('mask', 'confidence', 'road_probability', 'overlay')
    }


@pytest.mark.skipif(not KITTI_SAMPLE.is_dir(), reason=f'no KITTI road sample in {KITTI_SAMPLE}')
def test_grid_of_a_kitti_bag_is_the_road_under_the_stamps_of_its_masks(tmp_path, run):
    bag = tmp_path / 'kitti'
    assert kitti_to_bag.main([str(KITTI_SAMPLE), str(bag)]) == 0
    argv = ('--grid', '--road-probability', '--camera-height', '1.65', '--originals')
    found = run(bag, *argv)
    probabilities = found['/fcn_road_seg/road_probability']
    grids = found['/fcn_road_seg/grid']
    infos = found['/kitti/camera_color_left/camera_info']
    assert len(grids) == len(probabilities) == len(infos) == 2
    messages = zip(probabilities, grids, infos, strict=True)
    for (_, source), (time_ns, grid), (_, info) in messages:
        assert grid.header.stamp == source.header.stamp
        assert time_ns == grid.header.stamp.sec * 1_000_000_000 + grid.header.stamp.nanosec
        assert grid.header.frame_id == 'ground'
        # 10 m ahead on the axis; each frame has its own calibration.
        p_road = source.data.reshape(source.height, source.width)
        u = round(info.k[2] + info.k[0] * 0.05 / 10.05)
        v = round(info.k[5] + info.k[4] * 1.65 / 10.05)
        cell = grid.data.reshape(200, 400)[99, 40]
        assert cell == pytest.approx(100 * (1 - p_road[v, u] / 255), abs=0.51)


def test_frames_without_a_grid_are_counted_with_the_reason(tmp_path, run, capsys):
    topics = {'/image': drive_images(2), '/camera_info': [camera_info((60, 60))]}
    found = run(write_bag(tmp_path / 'bag', topics), '--grid', '--camera-height', '1.65')
    assert len(found['/fcn_road_seg/mask']) == 2
    assert found['/fcn_road_seg/grid'] == []
    assert 'without a grid: 2 x camera_info is for 60 x 60 pixels' in capsys.readouterr().out


def test_grid_that_cannot_be_made_is_refused(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1)})
    text = refusal(bag, '--grid', '--camera-height', '1.65')
    assert text.endswith(
        '--grid needs the calibration of /image, but the bag has no CameraInfo on /camera_info; '
        'record it as well, or leave --grid out'
    )
    text = refusal(bag, '--grid', '--camera-height', '-1')
    assert 'the camera is -1 m above the ground; use a height above 0' in text


@pytest.mark.parametrize(
    ('argv', 'text'),
    [
        (['--grid'], '--grid needs the height of the camera; add --camera-height M'),
        (['--camera-height', '1.5'], '--camera-height has no effect without --grid; add --grid'),
    ],
)
def test_grid_and_height_need_each_other(capsys, argv, text):
    with pytest.raises(SystemExit):
        segment_bag.parse_args(['in', 'out', *argv])
    assert text in capsys.readouterr().err


def test_topics_are_named_in_one_option_or_several(tmp_path, run):
    images = {name: drive_images(1) for name in ('/a', '/b', '/c', '/d')}
    found = run(write_bag(tmp_path / 'bag', images), '--topics', '/a', '/b', '--topics', '/c')
    assert set(found) == {f'{name}/fcn_road_seg/mask' for name in ('/a', '/b', '/c')}


def test_options_of_the_network_are_those_of_the_other_commands(tmp_path, run, capsys):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1)})
    argv = ('--backend', 'torch', '--threads', '1', '--input', '32x96', '--roi-top', '0.5')
    ((_, mask),) = run(bag, *argv)['/fcn_road_seg/mask']
    assert 'on cpu, float32, torch' in capsys.readouterr().out.lower()
    assert not mask.data[: 30 * 200].any()
    assert mask.data[30 * 200 :].any()


def test_bad_frames_are_printed_and_those_beyond_the_tenth_error_counted(tmp_path, run, capsys):
    depth = [image(STAMP_NS + i, encoding=f'16UC{i}') for i in range(2, 14)]
    run(write_bag(tmp_path / 'bag', {'/depth': depth, '/image': drive_images(1)}))
    printed = capsys.readouterr().out
    assert "bad: 1 x /depth: encoding '16UC2' is not supported" in printed
    assert 'bad: 2 more\n' in printed
    assert re.search(r'1 frames segmented, 12 bad; \d+\.\d s, \d+\.\d frames/s', printed)


def test_missing_messages_are_printed(tmp_path, run, capsys):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(3)})
    claim_messages(bag, 3, 5)
    run(bag)
    text = "missing: 2 messages listed in the bag's metadata are not in its files"
    assert text in capsys.readouterr().out


def test_topic_that_is_left_out_is_printed(tmp_path, run, capsys):
    types = {'/image': IMAGE, '/mine': 'mine/msg/Mine'}
    run(write_humble_bag(tmp_path / 'bag', types, rendered(1)[0]), '--originals')
    printed = capsys.readouterr().out
    assert '/mine is left out: neither the bag nor ROS defines mine/msg/Mine' in printed


def test_bag_that_does_not_exist_is_refused(tmp_path, refusal):
    assert 'nowhere does not exist' in refusal(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    ('argv', 'reason'),
    [
        (('--topics', '/b'), '/b has no images; topics with images: /image'),
        (('--checkpoint', '/nowhere.safetensors'), '/nowhere.safetensors does not exist'),
        (('--device', 'cuda:99'), "device 'cuda:99' "),
        (('--input', '100x100'), '100 is not a multiple of 32'),
        (('--video', 'video.avi'), 'video.avi does not end in .mp4'),
    ],
)
def test_what_cannot_be_done_is_one_line(tmp_path, refusal, argv, reason):
    assert reason in refusal(write_bag(tmp_path / 'bag', {'/image': drive_images(1)}), *argv)


def test_threshold_is_that_of_the_command(tmp_path, run):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1)})
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


def test_video_shows_every_overlay_at_the_cameras_rate(tmp_path, run, segmenter):
    video_path = tmp_path / 'video.mp4'
    found = run(
        write_bag(tmp_path / 'bag', {'/image': drive_images(5)}), '--video', str(video_path)
    )
    assert list(found) == ['/fcn_road_seg/mask']
    video = cv2.VideoCapture(str(video_path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    for frame in rendered(5):
        read, shown = video.read()
        assert read
        # Coarsely compressed, but nearer to the overlay than to the frame as it was.
        overlay = segmenter(frame, overlay=True).overlay_bgr
        to_overlay, to_frame = (np.abs(shown.astype(int) - p).mean() for p in (overlay, frame))
        assert to_overlay < 0.8 * to_frame
    assert not video.read()[0]


def test_existing_video_is_kept(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1)})
    video = tmp_path / 'video.mp4'
    video.write_text('of another run')
    text = refusal(bag, '--video', str(video))
    assert text == f'segment_bag: {video} exists already; use another name, or remove it'
    assert video.read_text() == 'of another run'


def test_video_of_several_cameras_is_refused(tmp_path, refusal):
    bag = write_bag(tmp_path / 'bag', {'/a': drive_images(1), '/b': drive_images(1)})
    text = refusal(bag, '--video', str(tmp_path / 'video.mp4'))
    assert '--video shows one camera; choose it with --topics: /a, /b' in text


@pytest.mark.parametrize('value', ['0', '1', 'nan', 'high'])
def test_threshold_outside_of_0_to_1_is_refused(tmp_path, capsys, value):
    with pytest.raises(SystemExit) as caught:
        segment_bag.main(['IN', str(tmp_path / 'out'), '--threshold', value])
    assert caught.value.code == 2
    assert 'is not a number between 0 and 1' in capsys.readouterr().err


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing(tmp_path, random_checkpoint_path, signal_number):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1) * 500})
    out = tmp_path / 'out'
    out.mkdir()
    argv = (bag, out / 'masks', '--checkpoint', random_checkpoint_path, '--video', out / 'a.mp4')
    line = command_line('segment_bag', *argv)
    last = interrupted(line, out / 'masks.part/masks/masks.mcap', signal_number)
    assert last == f'segment_bag: interrupted; {out}/masks was not written'
    assert list(out.iterdir()) == []


def test_full_disk_leaves_nothing_and_is_one_line(tmp_path, random_checkpoint_path):
    bag = write_bag(tmp_path / 'bag', {'/image': drive_images(1, (375, 1242)) * 10})
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
        tmp_path / 'bag', {'/image': drive_images(1), '/c': [compressed_image(rendered(1)[0])]}
    )
    absent = ('rclpy', 'sensor_msgs', 'std_msgs', 'builtin_interfaces', 'cv_bridge')
    argv = (bag, tmp_path / 'out', '--checkpoint', random_checkpoint_path, '--overlay')
    subprocess.run(command_line('segment_bag', *argv, absent=absent), check=True)
    assert len(messages_of(tmp_path / 'out', ['/image/fcn_road_seg/mask'])) == 1
