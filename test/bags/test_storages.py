import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from mcap.writer import CompressionType, IndexType, Writer

from fcn_road_seg.bags.reader import BagReader, Topic
from fcn_road_seg.bags.typestore import HEADER, IMAGE, BagError, typestore
from fcn_road_seg.bags.writer import STORAGES
from test.helpers.bag_files import image, messages_of, write_bag, write_compressed_bag

# Of a protobuf schema: no UTF-8.
BINARY = bytes([0x0A, 0xF3, 0x01, 0xFF, 0x80])


def write_mcap(path, foreign='', count=3, first_ns=10, **options):
    """Write /image, and with `foreign` /log in that encoding, as any recorder may."""
    store = typestore()
    definition = store.generate_msgdef(IMAGE, ros_version=2)[0].encode()
    with path.open('wb') as file:
        writer = Writer(file, **options)
        writer.start('ros2')
        if foreign:
            schema = writer.register_schema('foxglove.Log', foreign, BINARY)
            log = writer.register_channel('/log', foreign.replace('schema', ''), schema)
            writer.add_message(log, 5, BINARY, 5)
        channel = writer.register_channel(
            '/image', 'cdr', writer.register_schema(IMAGE, 'ros2msg', definition)
        )
        for time_ns in range(first_ns, first_ns + count):
            cdr = bytes(store.serialize_cdr(image(time_ns % 2**30), IMAGE))
            writer.add_message(channel, time_ns, cdr, time_ns)
        writer.finish()
    return path


def assert_three_images(path):
    with BagReader(path) as reader:
        assert {name: t.count for name, t in reader.topics.items()} == {'/image': 3}
        assert reader.topics['/image'].type == IMAGE
        found = list(reader.messages(['/image']))
    assert [m.time_ns for m in found] == [10, 11, 12]
    assert [m.parsed().header.stamp.nanosec for m in found] == [10, 11, 12]


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'index_types': IndexType.NONE},
        {'index_types': IndexType.CHUNK},
        {'index_types': IndexType.MESSAGE},
        {'index_types': IndexType.CHUNK, 'use_statistics': False},
        {'repeat_channels': False},
        {'repeat_schemas': False},
        {'repeat_channels': False, 'repeat_schemas': False, 'use_statistics': False},
        {'use_summary_offsets': False, 'use_statistics': False},
        {'use_chunking': False},
        {'chunk_size': 100},
        {'chunk_size': 100, 'index_types': IndexType.CHUNK},
        {'compression': CompressionType.LZ4},
        {'compression': CompressionType.NONE},
        {'enable_crcs': False},
    ],
)
@pytest.mark.parametrize('foreign', ['', 'protobuf', 'jsonschema', 'ros1msg'])
def test_images_of_any_valid_mcap_are_read(tmp_path, options, foreign):
    assert_three_images(write_mcap(tmp_path / 'a.mcap', foreign, **options))


MISSING_DEFINITIONS = ['', 'unknown']


@pytest.mark.parametrize('encoding', MISSING_DEFINITIONS)
def test_mcap_whose_recorder_did_not_find_a_definition_is_read(tmp_path, encoding):
    cdr = bytes(typestore().serialize_cdr(image(7), IMAGE))
    with (tmp_path / 'a.mcap').open('wb') as file:
        writer = Writer(file)
        writer.start('ros2')
        for topic, kind in (('/image', IMAGE), ('/undefined', 'my_msgs/action/Go_Feedback')):
            schema = writer.register_schema(kind, encoding, b'')
            writer.add_message(writer.register_channel(topic, 'cdr', schema), 7, cdr, 7)
        writer.finish()
    with BagReader(tmp_path / 'a.mcap') as reader:
        assert {t.name: t.count for t in reader.topics.values()} == {'/image': 1, '/undefined': 1}
        (message,) = reader.messages(['/image'])
    assert message.parsed().header.stamp.nanosec == 7


@pytest.mark.parametrize('encoding', MISSING_DEFINITIONS)
def test_sqlite_bag_whose_recorder_did_not_find_a_definition_is_read(tmp_path, encoding):
    bag = write_bag(tmp_path / 'bag', storage='sqlite3')
    with contextlib.closing(sqlite3.connect(bag / 'bag.db3')) as db:
        row = (9, 'my_msgs/action/Go_Feedback', encoding, '', '')
        db.execute('INSERT INTO message_definitions VALUES (?, ?, ?, ?, ?)', row)
        topic = (9, '/undefined', 'my_msgs/action/Go_Feedback', 'cdr', '', '')
        db.execute('INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)', topic)
        db.commit()
    assert len(messages_of(bag)) == 2
    with BagReader(bag / 'bag.db3') as reader:
        assert {t.name: t.count for t in reader.topics.values()} == {'/image': 2, '/undefined': 0}
        assert reader.duration_s == 7e-9
        assert reader.connection('/undefined').msgdef.data == ''
        assert 'uint32 step' in reader.connection('/image').msgdef.data


def test_hash_of_a_type_in_an_mcap_file_is_read(tmp_path):
    with (tmp_path / 'a.mcap').open('wb') as file:
        writer = Writer(file)
        writer.start('ros2')
        schema = writer.register_schema('my_msgs/msg/Mine', 'ros2idl', b'what is this')
        writer.register_channel('/mine', 'cdr', schema, {'topic_type_hash': 'RIHS01_12'})
        writer.finish()
    with BagReader(tmp_path / 'a.mcap') as reader:
        assert reader.connection('/mine').digest == 'RIHS01_12'


def test_topic_of_two_types_has_the_first_one(tmp_path):
    message = image(7)
    with (tmp_path / 'a.mcap').open('wb') as file:
        writer = Writer(file)
        writer.start('ros2')
        for kind, msg in ((IMAGE, message), (HEADER, message.header), (IMAGE, message)):
            schema = writer.register_schema(kind, '', b'')
            cdr = bytes(typestore().serialize_cdr(msg, kind))
            writer.add_message(writer.register_channel('/a', 'cdr', schema), 7, cdr, 7)
        writer.finish()
    with BagReader(tmp_path / 'a.mcap') as reader:
        assert reader.topics == {'/a': Topic('/a', IMAGE, 2)}
        assert reader.connection('/a').msgtype == IMAGE
        assert [m.parsed().encoding for m in reader.messages(['/a'])] == ['bgr8', 'bgr8']


def test_mcap_without_ros_messages_has_no_topics(tmp_path):
    with BagReader(write_mcap(tmp_path / 'a.mcap', 'protobuf', count=0)) as reader:
        assert reader.topics['/image'].count == 0
        assert list(reader.messages(['/image'])) == []


def test_images_recorded_out_of_order_come_in_order(tmp_path):
    # Each message is a chunk of its own.
    first = write_mcap(tmp_path / 'a.mcap', chunk_size=1)
    assert [m.time_ns for m in messages_of(first)] == [10, 11, 12]


NAMES = [
    *(b'a b', b'50%', b'%41', b'#1', b'a?b=c', b'a?mode=memory', b'date=2024'),
    *(b'caf\xe9', b'\xff\xfe', 'straße'.encode(), b"it's", b'back\\slash'),
]


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('name', NAMES)
def test_bag_in_a_folder_of_any_name_is_read(tmp_path, storage, name):
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    bag = write_bag(tmp_path / 'bag', storage=storage).rename(folder / 'bag')
    assert len(messages_of(bag)) == 2
    (file,) = (path for path in bag.iterdir() if path.suffix != '.yaml')
    other = file.rename(bag / f'{folder.name}{file.suffix}')
    assert len(messages_of(other)) == 2


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('name', NAMES)
def test_bag_of_any_name_is_written_or_refused_and_leaves_nothing_behind(tmp_path, storage, name):
    path = tmp_path / os.fsdecode(name)
    if storage == 'sqlite3' and set(name) & set(b'%#?'):
        text = 'contains ., which is not possible with --storage sqlite3; choose another name, or '
        with pytest.raises(BagError, match=f'{text}--storage mcap'):
            write_bag(path, storage=storage)
        assert list(tmp_path.iterdir()) == []
    else:
        write_bag(path, storage=storage)
        assert list(tmp_path.iterdir()) == [path]
        assert len(messages_of(path)) == 2


def test_bag_whose_uri_names_another_bag_is_not_mistaken_for_it(tmp_path):
    # '%41' is 'A' in a URI.
    for name, count in (('A', 3), ('%41', 1)):
        images = [image(stamp_ns) for stamp_ns in range(1, 1 + count)]
        bag = write_bag(tmp_path / 'bag', {'/image': images}, storage='sqlite3')
        bag.rename(tmp_path / name)
    assert len(messages_of(tmp_path / '%41')) == 1
    assert len(messages_of(tmp_path / 'A')) == 3


def test_bag_that_is_compressed_by_file_is_read_under_any_name(tmp_path):
    (tmp_path / '50%41#?').mkdir()
    write_compressed_bag(tmp_path / 'bag', 'FILE', [image()])
    shutil.move(tmp_path / 'bag', tmp_path / '50%41#?/bag')
    assert len(messages_of(tmp_path / '50%41#?/bag')) == 1


def test_command_for_a_bag_of_a_name_that_is_not_utf8_ends_without_a_signal(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/image': [image(pixels=np.zeros((40, 60, 3), np.uint8))]})
    bag = bag.rename(tmp_path / os.fsdecode(b'caf\xe9'))
    out = tmp_path / os.fsdecode(b'out\xe9')
    line = [sys.executable, '-m', 'fcn_road_seg', 'segment_bag', bag, out]
    strict = {**os.environ, 'PYTHONIOENCODING': 'utf-8:strict'}
    done = subprocess.run(line, capture_output=True, env=strict)
    assert (done.returncode, done.stderr.count(b'Traceback')) == (0, 0), done.stderr
    assert len(messages_of(out, ['/fcn_road_seg/mask'])) == 1
