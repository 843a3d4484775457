import os
import re
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image

pytest.importorskip('rosbags', reason='rosbags is not installed')

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, QosDurability
from ruamel.yaml import YAML

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import CAMERA_INFO, IMAGE, BagError
from fcn_road_seg.bags.writer import STORAGES, atomic_bag_writer
from test.helpers.bag_files import PIXELS, image, messages_of, write_bag, write_humble_bag

# From share/sensor_msgs/msg/Image.json of ROS.
IMAGE_HASH = 'RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47'


def run_writer(path, program, **settings):
    """Return a function that runs `program` in another process, with `bag` open for writing."""
    text = f"""
import os, signal, sys
from fcn_road_seg.bags.typestore import IMAGE, header, message
from fcn_road_seg.bags.writer import atomic_bag_writer
with atomic_bag_writer({str(path)!r}, sys.argv[1]) as bag:
    bag.add('/image', IMAGE)
    {program}
"""
    return lambda storage: subprocess.run(
        [sys.executable, '-c', text, storage], capture_output=True, text=True, **settings
    )


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
    # Such a duration is the one that ROS takes for infinite.
    never = {'sec': 9223372036, 'nsec': 854775807}
    assert [qos[k] for k in ('deadline', 'lifespan', 'liveliness_lease_duration')] == [never] * 3
    with BagReader(path) as reader:
        definition = reader.connection('/image').msgdef.data
    assert 'uint32 step\nuint8[] data\n' in definition
    assert 'MSG: std_msgs/Header\n' in definition


def test_bag_leaves_no_other_file_beside_it(tmp_path):
    path = write_bag(tmp_path / 'bag')
    assert list(tmp_path.iterdir()) == [path]
    assert {file.name for file in path.iterdir()} == {'metadata.yaml', 'bag.mcap'}


def test_bytes_are_on_the_disk_before_the_bag_has_its_name(tmp_path, monkeypatch):
    path = tmp_path / 'bag'
    synced = []
    monkeypatch.setattr(
        os, 'fsync', lambda file: synced.append((os.fstat(file).st_size, path.exists()))
    )
    write_bag(path)
    sizes = sorted(file.stat().st_size for file in path.iterdir())
    assert sorted(synced) == [(size, False) for size in sizes]


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
    with pytest.raises(BagError, match='would have no messages'):
        write_bag(tmp_path / 'bag', {'/image': []})
    assert list(tmp_path.iterdir()) == []


def test_existing_bag_is_refused_and_kept(tmp_path):
    path = write_bag(tmp_path / 'bag')
    with pytest.raises(BagError, match='bag already exists; remove it or choose another name'):
        write_bag(path)
    assert len(messages_of(path)) == 2


def test_dangling_link_and_root_folder_are_refused(tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for taken in (tmp_path / 'link', '/'):
        with pytest.raises(BagError, match='already exists; remove it or choose another name'):
            write_bag(taken)


def test_part_of_another_run_is_refused_and_kept(tmp_path):
    (tmp_path / 'other.part').mkdir()
    with pytest.raises(BagError, match=r'other\.part exists: another run is writing it'):
        write_bag(tmp_path / 'other')
    assert (tmp_path / 'other.part').is_dir()


def test_bag_in_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BagError, match='nowhere does not exist; create that folder first'):
        write_bag(tmp_path / 'nowhere' / 'bag')


@pytest.mark.parametrize('special', '#%?')
def test_name_that_sqlite3_would_misread_is_refused(tmp_path, special):
    path = tmp_path / f'bag{special}41'
    text = (
        rf'contains \{special}, which is not possible with --storage sqlite3; '
        'choose another name, or --storage mcap'
    )
    with pytest.raises(BagError, match=text):
        write_bag(path, storage='sqlite3')
    assert list(tmp_path.iterdir()) == []
    assert len(messages_of(write_bag(path))) == 2


def test_topic_is_announced_once(tmp_path):
    def write_twice():
        with atomic_bag_writer(tmp_path / 'bag', 'mcap') as bag:
            bag.add('/image', IMAGE)
            bag.add('/image', CAMERA_INFO)

    with pytest.raises(BagError, match='the bag would have two topics named /image'):
        write_twice()


@pytest.mark.parametrize('storage', STORAGES)
def test_disk_with_no_room_leaves_nothing(tmp_path, storage):
    path = tmp_path / 'bag'
    run = run_writer(
        path,
        "[bag.write('/image', i, bytes(500_000)) for i in range(20)]",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000)),
    )
    ended = run(storage)
    assert ended.returncode == 1
    assert re.search(
        'OSError: .*(File too large|cannot be written)', ended.stderr.splitlines()[-1]
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('storage', STORAGES)
def test_process_killed_while_writing_leaves_nothing_under_the_name(tmp_path, storage):
    program = "bag.write('/image', 1, bytes(9)); os.kill(os.getpid(), signal.SIGKILL)"
    assert run_writer(tmp_path / 'bag', program)(storage).returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ['bag.part']


def test_ros_reads_the_message_as_it_was_written(tmp_path):
    msg = deserialize_message(messages_of(write_bag(tmp_path / 'bag'))[0].cdr, Image)
    assert (msg.header.stamp.sec, msg.header.stamp.nanosec) == (1_317_042_145, 964_389_445)
    assert (msg.height, msg.width, msg.encoding, msg.is_bigendian) == (4, 6, 'bgr8', 0)
    assert bytes(msg.data) == PIXELS.tobytes()


def test_bag_of_humble_is_read_and_its_topics_are_copied_with_their_definitions(tmp_path):
    types = {'/image': IMAGE, '/mine': 'mine/msg/Mine'}
    path = write_humble_bag(tmp_path / 'humble', types)
    with BagReader(path) as reader, atomic_bag_writer(tmp_path / 'copy', 'mcap') as copy:
        assert {name: topic.type for name, topic in reader.topics.items()} == types
        assert copy.add_like(reader.connection('/image'))
        # Neither the bag nor ROS defines it.
        assert not copy.add_like(reader.connection('/mine'))
        for found in reader.messages(['/image']):
            copy.write(found.topic, found.time_ns, found.cdr)
    with BagReader(tmp_path / 'copy') as reader:
        connection = reader.connection('/image')
        assert connection.digest == IMAGE_HASH
        assert connection.ext.offered_qos_profiles
    assert np.array_equal(messages_of(tmp_path / 'copy')[0].parsed().data, PIXELS.ravel())


def test_topic_is_copied_with_its_own_qos(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        connection = reader.connection('/image')
    (qos,) = connection.ext.offered_qos_profiles
    # As of /tf_static, whose late subscribers need what was sent before.
    latched = [qos._replace(durability=QosDurability.TRANSIENT_LOCAL)]
    with atomic_bag_writer(tmp_path / 'copy', 'mcap') as copy:
        ext = connection.ext._replace(offered_qos_profiles=latched)
        assert copy.add_like(connection._replace(ext=ext))
        copy.write('/image', 1, image())
    with BagReader(tmp_path / 'copy') as reader:
        assert reader.connection('/image').ext.offered_qos_profiles == latched


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


# As rosbag2 stores a type that is defined in IDL and contains another.
THING_IDL = """\
================================================================================
IDL: mine/msg/Thing
// generated
#include "mine/msg/Part.idl"
module mine {
  module msg {
    @verbatim (language="comment", text="One thing")
    struct Thing {
      @unit (value="m")
      double size;
      mine::msg::Part part;
    };
  };
};

================================================================================
IDL: mine/msg/Part
module mine { module msg { struct Part { sequence<uint8> data; }; }; };
"""
THING_MSG = 'float64 size\nmine/Part part\n' + '=' * 80 + '\nMSG: mine/Part\nuint8[] data\n'


def test_type_defined_in_idl_is_copied_with_the_hash_of_the_same_type_in_msg(tmp_path):
    definitions = {
        MessageDefinitionFormat.IDL: ('/idl', THING_IDL),
        MessageDefinitionFormat.MSG: ('/msg', THING_MSG),
    }
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        connection = reader.connection('/image')
    with atomic_bag_writer(tmp_path / 'copy', 'mcap') as copy:
        for form, (topic, text) in definitions.items():
            mine = connection._replace(
                topic=topic,
                msgtype='mine/msg/Thing',
                msgdef=MessageDefinition(form, text),
                digest='',
            )
            assert copy.add_like(mine)
        copy.write('/idl', 1, b'\0\1\0\0')
    with BagReader(tmp_path / 'copy') as reader:
        assert reader.connection('/idl').msgdef.data == THING_IDL
        assert reader.connection('/idl').digest == reader.connection('/msg').digest != ''
