"""rosbags' readers for the files of a rosbag2, without their limitations; import this lazily.

rosbags opens an SQLite file by an unquoted URI: if the path has certain characters, it does not
find the file, or opens another one. It refuses a bag in which the recorder did not find the
definition of a type, and an MCAP file with any channel that is not ROS's, and does not find the
messages of chunks without a message index; the mcap package reads the latter two.
"""

from __future__ import annotations

import os
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from mcap.reader import NonSeekingReader, SeekingReader
from mcap.records import Channel, Message, Schema
from mcap.summary import Summary
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
)
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.metadata import ReaderMetadata, parse_qos
from rosbags.rosbag2.reader import DirectoryReader
from ruamel.yaml import YAML

_FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
    'omgidl': MessageDefinitionFormat.IDL,
    # What rosbag2 writes if it does not find the definition, for example that of an action.
    '': MessageDefinitionFormat.NONE,
    'unknown': MessageDefinitionFormat.NONE,
}


class _Storage(ABC):
    """A file of a rosbag2, with the interface of rosbags' storages."""

    _file: sqlite3.Connection | BinaryIO

    def __init__(self, path: Path) -> None:
        self._path = path
        self.connections: list[Connection] = []
        self.metadata = _metadata([], 0)

    def open(self) -> None:
        """Read the topics, and count their messages."""
        self._file = self._open_file()
        try:
            self._read_topics()
            _refuse_invalid(self.connections)
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @abstractmethod
    def _open_file(self) -> sqlite3.Connection | BinaryIO: ...

    @abstractmethod
    def _read_topics(self) -> None:
        """Set `connections` and `metadata`."""


class SqliteStorage(_Storage):
    """The messages of an SQLite file."""

    _file: sqlite3.Connection

    def _open_file(self) -> sqlite3.Connection:
        # Two leading slashes would introduce a host name.
        path = '/' + quote(os.fsencode(self._path.absolute())).lstrip('/')
        return sqlite3.connect(f'file:{path}?immutable=1', uri=True)

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield the messages of these connections, with their times in ns, in their order.

        `start` and `stop` are not used.
        """
        chosen = {connection.id: connection for connection in connections}
        marks = ', '.join('?' * len(chosen))
        # A value of any type can be in any column. As bytes, a wrong one costs its message alone.
        for number, time_ns, data in self._file.execute(
            "SELECT topic_id, timestamp, ifnull(CAST(data AS BLOB), x'') FROM messages "
            f'WHERE topic_id IN ({marks}) ORDER BY timestamp',
            tuple(chosen),
        ):
            yield chosen[number], time_ns, data

    def _read_topics(self) -> None:
        def rows(query: str) -> list[Any]:
            return self._file.execute(query).fetchall()

        # Not a view, nor a computed column, which table_info leaves out: either can compute
        # messages without end.
        tables = {name for (name,) in rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        stored = {column[1] for column in rows('PRAGMA table_info(messages)')}
        if not {'messages', 'topics'} <= tables or not {'timestamp', 'data'} <= stored:
            raise ReaderError('it has no table of messages or none of topics')
        columns = {column[1] for column in rows('PRAGMA table_info(topics)')}
        # Older versions of ROS do not record all of it.
        qos, digest = (
            name if name in columns else "''"
            for name in ('offered_qos_profiles', 'type_description_hash')
        )
        definitions = {}
        if 'message_definitions' in tables:
            definitions = {
                kind: _definition(encoding, text)
                for kind, encoding, text in rows(
                    'SELECT topic_type, encoding, encoded_message_definition '
                    'FROM message_definitions'
                )
            }
        self.connections = [
            Connection(
                number,
                topic,
                kind,
                definitions.get(kind) or _definition('', ''),
                hash_,
                count,
                ConnectionExtRosbag2(serialization, parse_qos(profiles)),
                self,
            )
            for number, topic, kind, count, serialization, profiles, hash_ in rows(
                'SELECT topics.id, name, type, count(messages.id), serialization_format, '
                f'{qos}, {digest} FROM topics LEFT JOIN messages ON topics.id = topic_id '
                'GROUP BY topics.id ORDER BY topics.id'
            )
        ]
        ((*times_ns, n),) = rows('SELECT min(timestamp), max(timestamp), count(*) FROM messages')
        self.metadata = _metadata(times_ns, n)


class McapStorage(_Storage):
    """The ROS 2 messages of an MCAP file."""

    _file: BinaryIO

    def _open_file(self) -> BinaryIO:
        return self._path.open('rb')

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Generator[tuple[Connection, int, bytes], None, None]:
        """Yield the messages of these connections, with their times in ns.

        They come in the order of their times, or in the file's order if it has no index: sorting
        would need as much memory as the file's size. `start` and `stop` are not used.
        """
        chosen = {connection.id: connection for connection in connections}
        for _, channel, message in self._all({c.topic for c in connections}):
            if channel.id in chosen:
                yield chosen[channel.id], message.log_time, message.data

    def _all(
        self, topics: set[str] | None = None
    ) -> Iterator[tuple[Schema | None, Channel, Message]]:
        """Iterate over the messages of `topics`, and also over others if that is easier."""
        self._file.seek(0)
        chunks = self._summary.chunk_indexes
        if not (chunks and self._summary.channels and self._summary.schemas):
            return NonSeekingReader(self._file).iter_messages(topics, log_time_order=False)
        # Without a message index, it is not known which topics are in a chunk.
        known = all(chunk.message_index_offsets for chunk in chunks)
        reader = SeekingReader(self._file, validate_crcs=True)
        return reader.iter_messages(topics if known else None)

    def _read_topics(self) -> None:
        summary = self._summary = SeekingReader(self._file).get_summary() or Summary()
        channels, schemas = summary.channels, summary.schemas
        statistics = summary.statistics
        if statistics and channels and schemas:
            counts = Counter(statistics.channel_message_counts)
            times_ns = [statistics.message_start_time, statistics.message_end_time]
        else:
            counts, times_ns = Counter(), []
            for schema, channel, message in self._all():
                channels = {**channels, channel.id: channel}
                schemas = {**schemas, schema.id: schema} if schema else schemas
                counts[channel.id] += 1
                extremes_ns = [*times_ns, message.log_time]
                times_ns = [min(extremes_ns), max(extremes_ns)]
        self.connections = [
            Connection(
                channel.id,
                channel.topic,
                schema.name,
                _definition(schema.encoding, schema.data.decode()),
                # Written by Iron and newer.
                channel.metadata.get('topic_type_hash', ''),
                counts[channel.id],
                ConnectionExtRosbag2('cdr', _qos(channel)),
                self,
            )
            for channel in channels.values()
            if channel.message_encoding == 'cdr'
            and (schema := schemas.get(channel.schema_id))
            and schema.encoding in _FORMATS
        ]
        self.metadata = _metadata(times_ns, sum(c.msgcount for c in self.connections))


class _FolderReader(DirectoryReader):
    STORAGE_PLUGINS = {'mcap': McapStorage, 'sqlite3': SqliteStorage}  # noqa: RUF012

    def open(self) -> None:
        """Read metadata.yaml, and open the files."""
        text = (self.path / 'metadata.yaml').read_text()
        # rosbags prints an unknown compression in full: with aliases, gigabytes from 1 kB. Only
        # files with an asterisk can have aliases, and only they are parsed twice.
        if '*' in text and not isinstance(_compression(text), str | None):
            raise ReaderError('compression_format in metadata.yaml is not text')
        super().open()
        try:
            _refuse_invalid(self.connections)
        except BaseException:
            self.close()
            raise


class AnyReader(Reader):
    """rosbags' reader of a folder or file, with the storages of this module."""

    STORAGE_PLUGINS = {  # noqa: RUF012
        'dir': _FolderReader,
        '.mcap': McapStorage,
        '.db3': SqliteStorage,
    }


def _refuse_invalid(connections: Sequence[Connection]) -> None:
    """Raise ReaderError if a topic's name or type is not text, or its count not a whole number.

    SQLite and YAML return values of any type, and rosbags passes them on.
    """
    for topic in connections:
        count = topic.msgcount
        is_text = isinstance(topic.topic, str) and isinstance(topic.msgtype, str)
        if not is_text or not isinstance(count, int) or count < 0:
            raise ReaderError('the name, type or number of messages of a topic is invalid')


def _compression(metadata: str) -> Any:
    tree = YAML(typ='safe').load(metadata)
    information = tree.get('rosbag2_bagfile_information') if isinstance(tree, dict) else None
    return information.get('compression_format') if isinstance(information, dict) else None


def _definition(encoding: str, text: str) -> MessageDefinition:
    form = _FORMATS.get(encoding, MessageDefinitionFormat.NONE)
    # Even then there can be a text, which is incomplete.
    return MessageDefinition(form, '' if form == MessageDefinitionFormat.NONE else text)


def _qos(channel: Channel) -> list[Qos]:
    return parse_qos(channel.metadata.get('offered_qos_profiles', ''))


def _metadata(times_ns: Sequence[int], count: int) -> ReaderMetadata:
    """Return rosbags' metadata; the end is 1 ns after the last message."""
    if not count:
        return ReaderMetadata(0, 2**63 - 1, 0, 0, None, None, None, None)
    start_ns, end_ns = min(times_ns), max(times_ns) + 1
    return ReaderMetadata(end_ns - start_ns, start_ns, end_ns, count, None, None, None, None)
