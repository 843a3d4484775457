import re
import shutil
import sqlite3
import tempfile
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('rosbags', reason='rosbags is not installed')

from ruamel.yaml import YAML

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
    write_damaged_bag,
)
from test.helpers.full_disk import file_size_limit


def parsed_or_message(bag_message):
    try:
        return bag_message.parsed()
    except BagError as error:
        return str(error)


@pytest.mark.parametrize('storage', STORAGES)
def test_message_is_read_back_with_its_bytes_and_time(tmp_path, storage):
    first, second = messages_of(write_bag(tmp_path / 'bag', storage=storage))
    assert (first.topic, first.type, first.time_ns) == ('/image', IMAGE, STAMP_NS)
    assert second.time_ns == STAMP_NS + 7
    msg = second.parsed()
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1_317_042_145, 964_389_452)
    assert (msg.header.frame_id, msg.encoding, msg.step) == ('camera', 'bgr8', 18)
    assert np.array_equal(msg.data, PIXELS.ravel())


@pytest.mark.parametrize('mode', ['FILE', 'MESSAGE', 'STORAGE'])
def test_compressed_bag_is_read(tmp_path, mode):
    write_compressed_bag(tmp_path / 'bag', mode, [image()])
    (found,) = messages_of(tmp_path / 'bag')
    assert found.time_ns == STAMP_NS
    assert np.array_equal(found.parsed().data, PIXELS.ravel())


def test_what_was_unpacked_is_removed_at_the_end(tmp_path, monkeypatch):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    with BagReader(write_compressed_bag(tmp_path / 'bag', 'FILE', [image()])) as reader:
        assert len(list(reader.messages(['/image']))) == 1
        assert list((tmp_path / 'tmp').iterdir()) != []
    assert list((tmp_path / 'tmp').iterdir()) == []


@pytest.fixture
def three_topics(tmp_path):
    with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
        for topic, kind in (('/a', IMAGE), ('/b', IMAGE), ('/info', CAMERA_INFO)):
            bag.add(topic, kind)
        for time_ns, topic in ((3, '/a'), (1, '/b'), (2, '/a')):
            bag.write(topic, time_ns, image(time_ns))
    return tmp_path / 'bag'


def test_messages_of_many_topics_come_in_the_order_of_their_times(three_topics):
    found = messages_of(three_topics, ['/a', '/b'])
    assert [(m.topic, m.time_ns) for m in found] == [('/b', 1), ('/a', 2), ('/a', 3)]


def test_no_topics_give_no_messages(three_topics):
    assert messages_of(three_topics, []) == []


def test_topics_are_counted_and_the_duration_is_known(three_topics):
    with BagReader(three_topics) as reader:
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
        # Like the bag of a killed recorder.
        lambda bag: (bag / 'bag.mcap').write_bytes((bag / 'bag.mcap').read_bytes()[:-50]),
    ],
)
def test_incomplete_bag_is_refused_in_one_line(tmp_path, spoil):
    path = write_bag(tmp_path / 'bag')
    spoil(path)
    with pytest.raises(BagError, match='is not a readable rosbag2') as caught:
        BagReader(path)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('name', ['bag', 'bag/bag.mcap'])
def test_mcap_of_a_killed_recorder_is_refused_with_the_remedy(tmp_path, name):
    file = write_bag(tmp_path / 'bag') / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(
        BagError, match=rf'; bag\.mcap is truncated; .* mcap recover {file} -o NEW\.mcap$'
    ):
        BagReader(tmp_path / name)


@pytest.mark.parametrize('storage', STORAGES)
def test_folder_without_its_metadata_is_refused_with_the_remedy(tmp_path, storage):
    folder = write_bag(tmp_path / 'bag', storage=storage)
    (folder / 'metadata.yaml').unlink()
    with pytest.raises(
        BagError, match=rf'metadata\.yaml was removed; create it again: ros2 bag reindex {folder}$'
    ):
        BagReader(folder)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda bag: (bag / 'metadata.yaml').write_text('a: 1'),
        lambda bag: (bag / 'bag.db3').write_bytes(b'hello' * 100),
        lambda bag: (bag / 'bag.db3').unlink(),
        lambda bag: shutil.rmtree(bag) or bag.mkdir(),
    ],
)
def test_what_no_command_can_repair_is_refused_without_one(tmp_path, spoil):
    bag = write_bag(tmp_path / 'bag', storage='sqlite3')
    spoil(bag)
    with pytest.raises(BagError, match=r'; give the folder of a bag, or a \.mcap or \.db3 file$'):
        BagReader(bag)


def test_bag_of_ros_1_is_refused_with_the_command_that_converts_it(tmp_path):
    path = tmp_path / 'my drive.bag'
    path.write_bytes(b'#ROSBAG V2.0\n')
    expected = f"{path} is a ROS 1 bag; convert it: rosbags-convert --src '{path}' --dst NEW"
    with pytest.raises(BagError, match=f'^{re.escape(expected)}$'):
        BagReader(path)


def test_messages_that_sqlite3_keeps_beside_the_bag_are_not_skipped(tmp_path):
    folder = write_bag(tmp_path / 'bag', storage='sqlite3')
    with closing(sqlite3.connect(folder / 'bag.db3')) as recorder:
        recorder.execute('PRAGMA journal_mode=WAL')
        recorder.execute('INSERT INTO messages SELECT 9, topic_id, 9, data FROM messages LIMIT 1')
        recorder.commit()
        for path in (folder, folder / 'bag.db3'):
            with pytest.raises(
                BagError, match=r'bag\.db3-wal contains messages .* wal_checkpoint'
            ):
                BagReader(path)
    # Closing the connection has put them into the bag. A log without messages withholds none.
    (folder / 'bag.db3-wal').touch()
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
    with BagReader(write_damaged_bag(tmp_path / 'bag')) as reader:
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


def test_bag_that_does_not_fit_into_the_temporary_folder_says_where_to_make_space(
    tmp_path, monkeypatch
):
    (tmp_path / 'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'tmp'))
    bag = write_compressed_bag(tmp_path / 'bag', 'FILE', [image()])
    with file_size_limit(100), pytest.raises(BagError) as refused:
        BagReader(bag)
    assert str(refused.value) == (
        f'{bag} cannot be unpacked to {tmp_path}/tmp (File too large); set TMPDIR to a folder '
        'with more space'
    )
    assert list((tmp_path / 'tmp').iterdir()) == []
