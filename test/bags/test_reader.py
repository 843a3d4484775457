import re
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from ruamel.yaml import YAML
from sensor_msgs.msg import Image

from fcn_road_seg.bags.reader import BagMessage, BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, BagError
from fcn_road_seg.bags.writer import STORAGES, atomic_bag_writer
from test.helpers.bag_files import (
    PIXELS,
    STAMP_NS,
    image,
    messages_of,
    write_bag,
    write_compressed_bag,
    write_humble_bag,
)

# As ROS gives it in share/sensor_msgs/msg/Image.json.
IMAGE_HASH = 'RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47'


def parsed_or_message(bag_message):
    try:
        return bag_message.parsed()
    except BagError as error:
        return str(error)


def use_up(path, program, **settings):
    """Run a program that opens `atomic_bag_writer` of `path` as `bag`, in a process of its own."""
    text = f"""
import os, signal, sys
from fcn_road_seg.bags.typestore import IMAGE, header, message
from fcn_road_seg.bags.writer import written_bag
with written_bag({str(path)!r}, sys.argv[1]) as bag:
    bag.add('/image', IMAGE)
    {program}
"""
    return lambda storage: subprocess.run(
        [sys.executable, '-c', text, storage], capture_output=True, text=True, **settings
    )


@pytest.mark.parametrize('storage', STORAGES)
def test_message_is_read_back_with_its_bytes_and_time(tmp_path, storage):
    first, second = messages_of(write_bag(tmp_path / 'bag', storage=storage))
    assert (first.topic, first.type, first.time_ns) == ('/image', IMAGE, STAMP_NS)
    assert second.time_ns == STAMP_NS + 7
    msg = second.parsed()
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1_317_042_145, 964_389_452)
    assert (msg.header.frame_id, msg.encoding, msg.step) == ('camera', 'bgr8', 18)
    assert np.array_equal(msg.data, PIXELS.ravel())


def test_ros_reads_the_message_as_it_was_written(tmp_path):
    msg = deserialize_message(messages_of(write_bag(tmp_path / 'bag'))[0].cdr, Image)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1_317_042_145, 964_389_445)
    assert (msg.height, msg.width, msg.encoding, msg.is_bigendian) == (4, 6, 'bgr8', 0)
    assert bytes(msg.data) == PIXELS.tobytes()


@pytest.mark.parametrize('storage', STORAGES)
def test_bag_is_in_the_form_that_humble_and_jazzy_read(tmp_path, storage):
    path = write_bag(tmp_path / 'bag', storage=storage)
    text = (path / 'metadata.yaml').read_text()
    metadata = YAML(typ='safe').load(text)['rosbag2_bagfile_information']
    assert metadata['version'] == 8
    assert metadata['storage_identifier'] == storage
    (file,) = metadata['relative_file_paths']
    assert (path / file).is_file()
    (topic,) = (entry['topic_metadata'] for entry in metadata['topics_with_message_count'])
    assert topic['type_description_hash'] == IMAGE_HASH
    # Up to version 8 a text, with numbers for the policies: 1 is reliable, 2 is volatile.
    (qos,) = YAML(typ='safe').load(topic['offered_qos_profiles'])
    assert (qos['reliability'], qos['durability'], qos['history'], qos['depth']) == (1, 2, 1, 10)
    with BagReader(path) as reader:
        definition = reader.connection('/image').msgdef.data
    assert 'uint32 step\nuint8[] data\n' in definition
    assert 'MSG: std_msgs/Header\n' in definition


def test_bag_has_no_other_file_beside_it(tmp_path):
    path = write_bag(tmp_path / 'bag')
    assert list(tmp_path.iterdir()) == [path]
    assert {file.name for file in path.iterdir()} == {'metadata.yaml', 'bag.mcap'}


def test_error_while_writing_leaves_nothing(tmp_path):
    def write_half():
        with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
            bag.add('/image', IMAGE)
            bag.write('/image', 1, image())
            assert (tmp_path / 'bag.part').is_dir()
            raise ValueError('half')

    with pytest.raises(ValueError, match='half'):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_bag_without_a_message_is_not_written(tmp_path):
    with pytest.raises(BagError, match='would have no message'):
        write_bag(tmp_path / 'bag', {'/image': []})
    assert list(tmp_path.iterdir()) == []


def test_name_that_is_taken_is_refused_and_what_has_it_stays(tmp_path):
    path = write_bag(tmp_path / 'bag')
    with pytest.raises(BagError, match='is there already; remove it or name another'):
        write_bag(path)
    assert len(messages_of(path)) == 2
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for taken in (tmp_path / 'link', '/'):
        with pytest.raises(BagError, match='is there already; remove it or name another'):
            write_bag(taken)
    (tmp_path / 'other.part').mkdir()
    with pytest.raises(BagError, match=r'other\.part is there: another run is at work'):
        write_bag(tmp_path / 'other')
    assert (tmp_path / 'other.part').is_dir()
    with pytest.raises(BagError, match='nowhere does not exist'):
        write_bag(tmp_path / 'nowhere' / 'bag')


@pytest.mark.parametrize('special', '#%?')
def test_name_that_sqlite_would_take_for_another_is_refused(tmp_path, special):
    path = tmp_path / f'bag{special}41'
    with pytest.raises(BagError, match=rf'has a \{special} in it; name another, or write mcap'):
        write_bag(path, storage='sqlite3')
    assert list(tmp_path.iterdir()) == []
    assert len(messages_of(write_bag(path))) == 2


def test_topic_is_announced_once(tmp_path):
    def write_twice():
        with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
            bag.add('/image', IMAGE)
            bag.add('/image', CAMERA_INFO)

    with pytest.raises(BagError, match='/image would be two topics of the bag'):
        write_twice()


@pytest.mark.parametrize('storage', STORAGES)
def test_disk_with_no_room_leaves_nothing(tmp_path, storage):
    path = tmp_path / 'bag'
    run = use_up(
        path,
        "[bag.write('/image', i, bytes(500_000)) for i in range(20)]",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000)),
    )
    ended = run(storage)
    assert ended.returncode == 1
    assert re.search('File too large|cannot be written', ended.stderr.splitlines()[-1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('storage', STORAGES)
def test_process_killed_while_writing_leaves_nothing_under_the_name(tmp_path, storage):
    program = "bag.write('/image', 1, bytes(9)); os.kill(os.getpid(), signal.SIGKILL)"
    assert use_up(tmp_path / 'bag', program)(storage).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ['bag.part']


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
def test_compressed_bag_is_read(tmp_path, mode):
    write_compressed_bag(tmp_path / 'bag', mode, [image()])
    (found,) = messages_of(tmp_path / 'bag')
    assert found.time_ns == STAMP_NS
    assert np.array_equal(found.parsed().data, PIXELS.ravel())


def test_bag_of_humble_is_read_and_its_topics_are_copied_with_their_definitions(tmp_path):
    types = {'/image': IMAGE, '/mine': 'mine/msg/Mine'}
    path = write_humble_bag(tmp_path / 'humble', types)
    with BagReader(path) as reader, atomic_bag_writer(tmp_path / 'copy', 'mcap') as copy:
        assert {name: topic.type for name, topic in reader.topics.items()} == types
        assert copy.add_like(reader.connection('/image'))
        # Neither the bag nor ROS tells what that is.
        assert not copy.add_like(reader.connection('/mine'))
        for found in reader.messages(['/image']):
            copy.write(found.topic, found.time_ns, found.cdr)
    with BagReader(tmp_path / 'copy') as reader:
        connection = reader.connection('/image')
        assert connection.digest == IMAGE_HASH
        assert connection.ext.offered_qos_profiles
    assert np.array_equal(messages_of(tmp_path / 'copy')[0].parsed().data, PIXELS.ravel())


@pytest.mark.parametrize(
    ('text', 'known'), [('float32 speed\nstring name\n', True), ('what is this', False)]
)
def test_type_of_others_is_copied_if_the_bag_defines_it(tmp_path, text, known):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        # Humble's mcap: a definition without a hash.
        connection = reader.connection('/image')._replace(
            topic='/mine',
            msgtype='mine/msg/Mine',
            msgdef=MessageDefinition(MessageDefinitionFormat.MSG, text),
            digest='',
        )
    with atomic_bag_writer(tmp_path / 'copy', 'mcap') as copy:
        assert copy.add_like(connection) is known
        copy.add('/image', IMAGE)
        copy.write('/image', 1, image())
    with BagReader(tmp_path / 'copy') as reader:
        assert ('/mine' in reader.topics) is known


def test_messages_of_many_topics_come_in_the_order_of_their_times(tmp_path):
    with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
        for topic, kind in (('/a', IMAGE), ('/b', IMAGE), ('/info', CAMERA_INFO)):
            bag.add(topic, kind)
        for time_ns, topic in ((3, '/a'), (1, '/b'), (2, '/a')):
            bag.write(topic, time_ns, image(time_ns))
    found = messages_of(tmp_path / 'bag', ['/a', '/b'])
    assert [(m.topic, m.time_ns) for m in found] == [('/b', 1), ('/a', 2), ('/a', 3)]
    assert messages_of(tmp_path / 'bag', []) == []
    with BagReader(tmp_path / 'bag') as reader:
        assert reader.topics['/a'].count == 2
        assert reader.topics['/info'].count == 0
        assert reader.duration_s == 2e-9


@pytest.mark.parametrize(
    'spoil',
    [
        lambda bag: (bag / 'metadata.yaml').unlink(),
        lambda bag: (bag / 'metadata.yaml').write_text('{'),
        lambda bag: (bag / 'metadata.yaml').write_text('a: 1'),
        lambda bag: (bag / 'bag.mcap').unlink(),
        lambda bag: (bag / 'bag.mcap').write_bytes(b''),
        lambda bag: (bag / 'bag.mcap').write_bytes(b'hello' * 100),
        # As a recorder that was killed leaves it.
        lambda bag: (bag / 'bag.mcap').write_bytes((bag / 'bag.mcap').read_bytes()[:-50]),
    ],
)
def test_what_is_no_whole_bag_is_refused_in_one_line(tmp_path, spoil):
    path = write_bag(tmp_path / 'bag')
    spoil(path)
    with pytest.raises(BagError, match='is no rosbag2 that can be read') as caught:
        BagReader(path)
    assert '\n' not in str(caught.value)


def test_what_a_killed_recorder_leaves_is_refused_with_the_remedy(tmp_path):
    path = write_bag(tmp_path / 'bag') / 'bag.mcap'
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(BagError, match="a killed recorder left is mended by 'mcap recover' or"):
        BagReader(path)


def test_messages_that_sqlite_keeps_beside_the_bag_are_not_passed_over(tmp_path):
    folder = write_bag(tmp_path / 'bag', storage='sqlite3')
    with closing(sqlite3.connect(folder / 'bag.db3')) as recorder:
        recorder.execute('PRAGMA journal_mode=WAL')
        recorder.execute('INSERT INTO messages SELECT 9, topic_id, 9, data FROM messages LIMIT 1')
        recorder.commit()
        for path in (folder, folder / 'bag.db3'):
            with pytest.raises(BagError, match=r'bag\.db3-wal has messages .* wal_checkpoint'):
                BagReader(path)
    # sqlite3 itself has put them into the bag.
    assert len(messages_of(folder / 'bag.db3')) == 3


@pytest.mark.parametrize('storage', STORAGES)
def test_topic_whose_qos_was_edited_in_the_metadata_is_read(tmp_path, storage):
    path = write_bag(tmp_path / 'bag', storage=storage) / 'metadata.yaml'
    text = path.read_text()
    assert 'reliability: 1' in text
    path.write_text(text.replace('reliability: 1', 'reliability: 2'))
    assert len(messages_of(tmp_path / 'bag')) == 2


def test_bag_in_several_files_is_read_through(tmp_path):
    whole = write_bag(tmp_path / 'bag', {'/image': [image(STAMP_NS)]})
    second = write_bag(tmp_path / 'second', {'/image': [image(STAMP_NS + 7)]})
    (second / 'second.mcap').rename(whole / 'second.mcap')
    yaml = YAML(typ='safe')
    metadata = yaml.load(whole / 'metadata.yaml')
    metadata['rosbag2_bagfile_information']['relative_file_paths'].append('second.mcap')
    with (whole / 'metadata.yaml').open('w') as file:
        yaml.dump(metadata, file)
    assert [found.time_ns for found in messages_of(whole)] == [STAMP_NS, STAMP_NS + 7]


def test_bag_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BagError, match='nowhere does not exist'):
        BagReader(tmp_path / 'nowhere')


def test_one_storage_file_is_read_as_a_bag(tmp_path):
    assert len(messages_of(write_bag(tmp_path / 'bag') / 'bag.mcap')) == 2


def test_bag_that_is_damaged_in_the_middle_says_after_how_many_messages(tmp_path):
    large = np.random.default_rng(1).integers(0, 256, (600, 600, 3), np.uint8)
    # Each message is a chunk of its own, of 1.1 MB.
    write_compressed_bag(tmp_path / 'bag', 'STORAGE', [image(pixels=large)] * 5)
    with (tmp_path / 'bag/bag.mcap').open('rb+') as file:
        file.seek(2_400_000)
        file.write(b'\xff' * 300_000)
    with BagReader(tmp_path / 'bag') as reader:
        found = reader.messages(['/image'])
        assert [next(found).time_ns for _ in range(2)] == [STAMP_NS, STAMP_NS + 1]
        with pytest.raises(BagError, match='is damaged after 2 messages: '):
            next(found)


@given(st.binary(max_size=200))
@pytest.mark.parametrize('type_name', [IMAGE, COMPRESSED_IMAGE])
def test_any_bytes_are_a_message_or_one_line_of_error(type_name, data):
    for start in (b'', b'\x00\x01\x00\x00', b'\x00\x00\x00\x00'):
        result = parsed_or_message(BagMessage('/image', type_name, 0, start + data))
        assert not isinstance(result, str) or ('is damaged' in result and '\n' not in result)
