"""Bags whose files hold values that no recorder writes, as SQLite, YAML and MCAP allow."""

import contextlib
import re
import sqlite3

import pytest

from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from test.bags.test_storages import write_mcap
from test.helpers.bag_files import messages_of, write_bag

VIEWS = {
    'endless': 'WITH RECURSIVE c(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM c) '
    "SELECT id, 1 AS topic_id, id AS timestamp, x'00' AS data FROM c",
    'huge': 'SELECT id, topic_id, timestamp, zeroblob(900000000) AS data FROM old',
}


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / 'bag', storage='sqlite3')


def run_sql(bag, script):
    with contextlib.closing(sqlite3.connect(bag / 'bag.db3')) as db:
        db.executescript(script)


def read_all(path):
    with BagReader(path) as reader:
        return list(reader.messages(reader.topics))


@pytest.mark.parametrize('view', VIEWS.values(), ids=VIEWS)
def test_messages_that_a_view_computes_are_not_asked_for(bag, view):
    run_sql(bag, f'ALTER TABLE messages RENAME TO old; CREATE VIEW messages AS {view}')
    with pytest.raises(BagError, match=r'is not a readable rosbag2 .it has no table of messages'):
        BagReader(bag)


def test_data_that_a_column_computes_are_not_asked_for(bag):
    column = 'data BLOB GENERATED ALWAYS AS (zeroblob(900000000))'
    run_sql(bag, f'ALTER TABLE messages DROP COLUMN data; ALTER TABLE messages ADD {column}')
    with pytest.raises(BagError, match=r'is not a readable rosbag2 .it has no table of messages'):
        BagReader(bag)


@pytest.mark.parametrize('value', ['-5', '1.5', '9e999'])
def test_time_that_is_none_ends_the_bag_in_one_line(bag, value):
    run_sql(bag, f'UPDATE messages SET timestamp = {value} WHERE id = 1')
    with pytest.raises(BagError, match=r'bag is damaged after \d messages: the time of the next'):
        read_all(bag)


def test_time_beyond_those_of_ros_ends_an_mcap_in_one_line(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', first_ns=2**63 - 2)
    with pytest.raises(BagError, match='after 2 messages: the time of the next one is 922337203'):
        read_all(path)


@pytest.mark.parametrize('value', ['7', "'text'", "x''"])
def test_data_that_are_no_message_cost_only_that_message(bag, value):
    run_sql(bag, f'UPDATE messages SET data = {value} WHERE id = 1')
    first, second = messages_of(bag)
    assert isinstance(first.cdr, bytes)
    with pytest.raises(BagError, match='is damaged'):
        first.parsed()
    assert second.parsed().width == 6


@pytest.mark.parametrize('column', ['name', 'type'])
def test_topic_whose_name_or_type_is_no_text_is_refused(bag, column):
    run_sql(bag, f"UPDATE topics SET {column} = x'ff00'")
    for path in (bag, bag / 'bag.db3'):
        with pytest.raises(BagError, match='the name, type or number of messages of a topic is'):
            BagReader(path)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        *(('message_count: 2', f'message_count: {new}') for new in ('null', 'two', '.nan', '-5')),
        *(('name: /image', f'name: {new}') for new in ('null', '5', '[a]', '{a: b}')),
        ('type: sensor_msgs/msg/Image', 'type: [a]'),
    ],
)
def test_metadata_of_other_types_are_refused_in_one_line(bag, old, new):
    path = bag / 'metadata.yaml'
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(BagError, match='bag is not a readable rosbag2') as refused:
        BagReader(bag)
    assert '\n' not in str(refused.value)


def test_aliases_in_metadata_do_not_multiply(bag):
    path = bag / 'metadata.yaml'
    lines = [
        '  a: &a0 [x]',
        *(f'  a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 12)),
    ]
    text = path.read_text().replace('information:\n', 'information:\n' + '\n'.join(lines) + '\n')
    path.write_text(re.sub("compression_(format|mode): ''", r'compression_\1: *a11', text))
    with pytest.raises(BagError, match=r'compression_format in metadata\.yaml is not text'):
        BagReader(bag)
