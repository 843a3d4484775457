"""rosbag2 in and out where no ROS is installed; messages are rosbags' own classes."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fcn_road_seg.bags.typestore import BagError, _require_rosbags, _typestore

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.rosbag2 import Writer

STORAGES = ('mcap', 'sqlite3')
# The newest that Humble reads; Jazzy reads it, too. Version 9 has the QoS in a form of its own.
FORMAT_VERSION: Literal[8] = 8


class BagWriter:
    """Takes messages in any order of their times; made by `atomic_bag_writer`."""

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
def atomic_bag_writer(path: str | Path, storage: str) -> Iterator[BagWriter]:
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
