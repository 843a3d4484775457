"""Writes rosbag2 without ROS; a bag appears complete or not at all."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fcn_road_seg.bags.typestore import BagError, require_rosbags, typestore

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, Qos
    from rosbags.rosbag2 import Writer

STORAGES = ('mcap', 'sqlite3')
# The newest version that Humble reads; version 9 stores the QoS in another form.
FORMAT_VERSION: Literal[8] = 8


class BagWriter:
    """Writes messages, in any order of their times; created by `atomic_bag_writer`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._connections: dict[str, Connection] = {}
        self.count = 0

    def add(self, topic: str, type_name: str) -> None:
        """Add a topic of one of ROS's own types; it is played with reliable QoS.

        Raises:
            BagError: the bag already has a topic of this name.
        """
        if topic in self._connections:
            raise BagError(f'the bag would have two topics named {topic}; rename one of them')
        self._connections[topic] = self._writer.add_connection(
            topic, type_name, typestore=typestore(), offered_qos_profiles=[_reliable()]
        )

    def add_like(self, connection: Connection) -> bool:
        """Add a topic with its type and QoS in another bag; return whether it was added.

        It is not added if neither that bag nor ROS defines the type. (Bags that Humble records
        with sqlite3 contain no definitions.)
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
        """Write a message made by `message`, or its CDR bytes; `time_ns` is in ns since 1970."""
        connection = self._connections[topic]
        if not isinstance(msg, bytes):
            msg = typestore().serialize_cdr(msg, connection.msgtype)
        self._writer.write(connection, time_ns, msg)
        self.count += 1


@contextmanager
def atomic_bag_writer(path: str | Path, storage: str) -> Iterator[BagWriter]:
    """Yield a writer of a bag that gets the name `path` only if the block ends without error.

    Until then it grows in `path` + '.part', which is removed after an error unless the process
    was killed. `storage` is one of STORAGES. ROS 2 Humble and newer can play the bag.

    Raises:
        BagError: `path` or its '.part' exists, its folder does not, sqlite3 cannot use its name,
            the bag would have no messages, or rosbags is not installed.
        OSError: the files cannot be written, for example because the disk is full.
    """
    require_rosbags()
    from rosbags.rosbag2 import StoragePlugin, Writer

    path = Path(path).absolute()
    # Path.exists() overlooks a dangling link, which the rename below could not replace.
    if os.path.lexists(path):
        raise BagError(f'{path} already exists; remove it or choose another name')
    # rosbags opens the file by an unquoted URI, and would write to a file of another name.
    if storage == 'sqlite3' and (special := re.search('[#%?]', str(path))):
        raise BagError(
            f'{path} contains {special[0]}, which is not possible with --storage sqlite3; choose '
            'another name, or --storage mcap'
        )
    part = path.with_name(path.name + '.part')
    try:
        part.mkdir()
    except FileExistsError as error:
        raise BagError(
            f'{part} exists: another run is writing it, or was killed; if it was killed, remove '
            'that folder'
        ) from error
    except FileNotFoundError as error:
        raise BagError(f'{path.parent} does not exist; create that folder first') from error
    try:
        plugin = StoragePlugin[storage.upper()]
        # rosbags names the files after their folder, so the folder has the final name at once.
        with Writer(part / path.name, version=FORMAT_VERSION, storage_plugin=plugin) as writer:
            bag = BagWriter(writer)
            yield bag
            if not bag.count:
                raise BagError(f'{path} would have no messages, so it is not written')
        for file in (part / path.name).iterdir():
            # Otherwise the rename can reach the disk before the bytes do.
            with file.open('rb+') as opened:
                os.fsync(opened.fileno())
        (part / path.name).rename(path)
    except sqlite3.Error as error:
        raise OSError(f'{path} cannot be written: {error}') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _definition(connection: Connection) -> tuple[str, str] | None:
    """Return the definition and hash of a topic's type; None if neither bag nor ROS has them."""
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    text, type_name = connection.msgdef.data, connection.msgtype
    if text and connection.digest:
        return text, connection.digest
    store = typestore()
    if connection.msgdef.format != MessageDefinitionFormat.NONE:
        store = get_typestore(Stores.EMPTY)
        try:
            if connection.msgdef.format == MessageDefinitionFormat.MSG:
                store.fielddefs.update(get_types_from_msg(text, type_name))
            else:
                # rosbags knows neither '#include' nor the lines that rosbag2 puts above types.
                plain = re.sub('^#.*', '', text, flags=re.MULTILINE)
                for idl in re.split('={80}\nIDL: .*\n', plain):
                    if idl.strip():
                        store.fielddefs.update(get_types_from_idl(idl))
            return text, store.hash_rihs01(type_name)
        except Exception:  # one topic, whose definition can be any text
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

    # The value that ROS itself writes for "never".
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
