"""rosbag2 in and out where no ROS is installed; messages are rosbags' own classes."""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.rosbag2 import Writer
    from rosbags.typesys.store import Typestore

HEADER = 'std_msgs/msg/Header'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
STORAGES = ('mcap', 'sqlite3')
# The newest that Humble reads; Jazzy reads it, too. Version 9 has the QoS in a form of its own.
FORMAT_VERSION: Literal[8] = 8
# A stamp's seconds are an int32.
MAX_STAMP_NS = (2**31 - 1) * 1_000_000_000


class BagError(ValueError):
    """A bag or a message of it cannot be read, or a bag not be written; one line says why."""


@dataclass(frozen=True)
class Topic:
    """What a bag tells of a topic; `type` is such as 'sensor_msgs/msg/Image'."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """A message as it lies in a bag: CDR bytes, received at `time_ns`."""

    topic: str
    type: str
    time_ns: int
    cdr: bytes

    def parsed(self) -> Any:
        """Return the message with the fields that ROS gives it; arrays are numpy's.

        Raises:
            BagError: the bytes are no message of this type.
        """
        try:
            return _typestore().deserialize_cdr(self.cdr, self.type)
        except Exception as error:  # one message, and its bytes can be anything
            raise BagError(f'{self.type} of {len(self.cdr)} bytes is damaged ({error})') from error


def message(type_name: str, **fields: Any) -> Any:
    """Return a message of `type_name`, such as IMAGE; every field is given, arrays as numpy's."""
    return _typestore().types[type_name](**fields)


def header(stamp_ns: int, frame_id: str) -> Any:
    """Return a std_msgs Header; `stamp_ns` is 0 to MAX_STAMP_NS."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = message('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
    return message(HEADER, stamp=stamp, frame_id=frame_id)


class BagReader:
    """A rosbag2: its folder, or one .mcap or .db3 file; a context manager.

    What is compressed by file is unpacked to the temporary folder (TMPDIR) first.

    Raises:
        BagError: there is no bag, none that can be read, or rosbags is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        _require_rosbags()
        from rosbags.rosbag2 import Reader

        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f'{path} does not exist; give the folder or file of a rosbag2')
        _refuse_unmerged(self.path)
        try:
            self._reader = Reader(self.path)
            self._reader.open()
        except Exception as error:  # a foreign file, in one of three formats of others
            raise BagError(
                f'{path} is no rosbag2 that can be read ({_one_line(error).rstrip(".")}); '
                "name a bag's folder, or a .mcap or .db3 file; what a killed recorder left is "
                "mended by 'mcap recover' or 'ros2 bag reindex'"
            ) from error
        self.topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            name, count = connection.topic, connection.msgcount
            if name in self.topics:
                count += self.topics[name].count
            self.topics[name] = Topic(name, connection.msgtype, count)

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return max(0, self._reader.duration - 1) / 1e9

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Yield the messages of these topics in the order of their times.

        They may be fewer than `topics` tells: in a folder that is of metadata.yaml.

        Raises:
            BagError: the bag is damaged; the text says after how many messages.
        """
        # Of the files: rosbags passes over a topic of which metadata.yaml tells another QoS than
        # they do, as one has it who edited it for another ROS.
        files = getattr(self._reader.storage, 'storages', [self._reader.storage])
        types = {name: topic.type for name, topic in self.topics.items() if name in topics}
        chosen = [c for f in files for c in f.connections if types.get(c.topic) == c.msgtype]
        if not chosen:
            return
        read = self._reader.messages(chosen)
        count = 0
        while True:
            try:
                item = next(read, None)
            except Exception as error:  # from the bytes of one message or chunk
                raise BagError(
                    f'{self.path} is damaged after {count} messages: {_one_line(error)}'
                ) from error
            if item is None:
                return
            connection, time_ns, cdr = item
            yield BagMessage(connection.topic, connection.msgtype, time_ns, cdr)
            count += 1

    def connection(self, topic: str) -> Connection:
        """Return what the bag knows of a topic, for `BagWriter.add_like`."""
        return next(c for c in self._reader.connections if c.topic == topic)

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()


class BagWriter:
    """Takes messages in any order of their times; made by `written_bag`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Connection] = {}
        self.count = 0

    def add(self, topic: str, type_name: str) -> None:
        """Announce a topic of a sensor_msgs type, offered reliably to who plays the bag.

        Raises:
            BagError: a topic of this name is announced already.
        """
        if topic in self._connections:
            raise BagError(f'{topic} would be two topics of the bag; give one another name')
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, typestore=_typestore(), offered_qos_profiles=[_reliable()]
        )

    def add_like(self, connection: Connection) -> bool:
        """Announce a topic as another bag has it; return False if its type is not known.

        A bag without definitions (Humble's sqlite3) knows those of ROS itself.
        """
        definition = _definition(connection)
        if definition is None:
            return False
        text, digest = definition
        qos: list[Qos] = getattr(connection.ext, 'offered_qos_profiles', [])
        self._connections[connection.topic] = self._writer.add_connection(
            connection.topic,
            connection.msgtype,
            msgdef=text,
            rihs01=digest,
            # Jazzy cannot read an empty list.
            offered_qos_profiles=qos or [_reliable()],
        )
        return True

    def write(self, topic: str, time_ns: int, msg: Any) -> None:
        """Write a message of `message`, or the CDR bytes of one."""
        connection = self._connections[topic]
        if not isinstance(msg, bytes):
            msg = _typestore().serialize_cdr(msg, connection.msgtype)
        self._writer.write(connection, time_ns, msg)
        self.count += 1


@contextmanager
def written_bag(path: str | Path, storage: str) -> Iterator[BagWriter]:
    """Give a writer of a bag that takes the name `path` only when all went well.

    Until then it grows in `path` + '.part', which after an error is removed, where the process
    lives to do so. `storage` is one of STORAGES. ROS 2 from Humble on plays it.

    Raises:
        BagError: `path` or its '.part' is there already, its folder is not, its name is not for
            sqlite3, the bag would have no message, the storage cannot be written, or rosbags is
            not installed.
        OSError: the disk is full, for one.
    """
    _require_rosbags()
    from rosbags.rosbag2 import StoragePlugin, Writer

    # Its files are named after the folder they are made in.
    path = Path(path).absolute()
    # Also if it is a link to nothing, which could not be replaced in the end.
    if os.path.lexists(path):
        raise BagError(f'{path} is there already; remove it or name another')
    # There rosbags names the file by a URI, and would write to one of another name.
    if storage == 'sqlite3' and (special := re.search('[#%?]', str(path))):
        raise BagError(f'{path} has a {special[0]} in it; name another, or write mcap')
    part = path.with_name(path.name + '.part')
    try:
        part.mkdir()
    except FileExistsError as error:
        raise BagError(
            f'{part} is there: another run is at work, or one was killed; then remove it'
        ) from error
    except FileNotFoundError as error:
        raise BagError(f'{path.parent} does not exist; make that folder first') from error
    try:
        plugin = StoragePlugin[storage.upper()]
        with Writer(part / path.name, version=FORMAT_VERSION, storage_plugin=plugin) as writer:
            bag = BagWriter(writer)
            yield bag
            if not bag.count:
                raise BagError(f'{path} would have no message, and is not written')
        for file in (part / path.name).iterdir():
            # A rename may reach the disk before the bytes do.
            with file.open('rb+') as opened:
                os.fsync(opened.fileno())
        (part / path.name).rename(path)
    except sqlite3.Error as error:
        raise BagError(f'{path} cannot be written: {error}') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `out` and `--storage`, those of `written_bag`."""
    parser.add_argument('out', type=Path, metavar='OUT', help='the bag, a folder, is made there')
    parser.add_argument('--storage', choices=STORAGES, default=STORAGES[0], help='default: mcap')


def _require_rosbags() -> None:
    # It is an extra; hence the imports within functions.
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise BagError(f"rosbags cannot be used ({error}); pip install 'rosbags>=0.11'") from error


def _refuse_unmerged(path: Path) -> None:
    """Raise BagError where sqlite3 keeps messages of a bag beside it, which would be missed."""
    logs = path.glob('*.db3-wal') if path.is_dir() else [path.with_name(f'{path.name}-wal')]
    for log in logs:
        if log.exists() and log.stat().st_size:
            database = str(log).removesuffix('-wal')
            raise BagError(
                f'{log} has messages of the bag: its recorder is at work or was killed; '
                f"then run: sqlite3 '{database}' 'PRAGMA wal_checkpoint'"
            )


@functools.cache
def _typestore() -> Typestore:
    from rosbags.typesys import Stores, get_typestore

    # The definitions and hashes of sensor_msgs are Jazzy's, too.
    return get_typestore(Stores.ROS2_HUMBLE)


def _definition(connection: Connection) -> tuple[str, str] | None:
    """Return the definition and the hash of a topic's type, None if neither bag nor ROS knows."""
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    text, type_name = connection.msgdef.data, connection.msgtype
    if text and connection.digest:
        return text, connection.digest
    store = _typestore()
    if connection.msgdef.format == MessageDefinitionFormat.MSG:
        store = get_typestore(Stores.EMPTY)
        try:
            store.fielddefs.update(get_types_from_msg(text, type_name))
            return text, store.hash_rihs01(type_name)
        except Exception:  # a text of others; one topic
            return None
    if type_name not in store.fielddefs:
        return None
    return store.generate_msgdef(type_name, ros_version=2)[0], store.hash_rihs01(type_name)


def _reliable() -> Qos:
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    # As ROS writes it.
    never = QosTime(*divmod(2**63 - 1, 1_000_000_000))
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=10,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.VOLATILE,
        deadline=never,
        lifespan=never,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=never,
        avoid_ros_namespace_conventions=False,
    )


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
