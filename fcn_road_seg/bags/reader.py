"""Reads rosbag2 without ROS; messages are rosbags' own classes."""

from __future__ import annotations

import errno
import os
import re
import shlex
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fcn_road_seg.bags.typestore import BagError, require_rosbags, typestore
from fcn_road_seg.messages.one_line import one_line

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

# The suffixes of a bag's files.
BAG_SUFFIXES = ('.mcap', '.db3')
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Times are an int64 in ROS.
_MAX_TIME_NS = 2**63 - 1
_MCAP_MAGIC = b'\x89MCAP0\r\n'


@dataclass(frozen=True)
class Topic:
    """A topic of a bag, its type, such as 'sensor_msgs/msg/Image', and its number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class BagMessage:
    """A message as the bag stores it: CDR bytes, received at `time_ns` (ns since 1970)."""

    topic: str
    type: str
    time_ns: int
    cdr: bytes

    def parsed(self) -> Any:
        """Return the message with the fields that ROS gives it; arrays are numpy's.

        Raises:
            BagError: the bytes are not a message of this type.
        """
        try:
            return typestore().deserialize_cdr(self.cdr, self.type)
        except Exception as error:  # one message, whose bytes can be anything
            raise BagError(f'{self.type} of {len(self.cdr)} bytes is damaged ({error})') from error


class BagReader:
    """A rosbag2, given as its folder or as one .mcap or .db3 file; a context manager.

    A bag that is compressed file by file is first unpacked to the temporary folder (TMPDIR).

    Raises:
        BagError: the bag does not exist, is of ROS 1 or cannot be read or unpacked, or rosbags or
            mcap is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        require_rosbags()
        from fcn_road_seg.bags.storages import AnyReader

        self.path = Path(path)
        if not self.path.exists():
            raise BagError(f'{path} does not exist; give the folder or file of a rosbag2')
        if self.path.suffix == '.bag':
            quoted = shlex.quote(str(path))
            raise BagError(
                f'{path} is a ROS 1 bag; convert it: rosbags-convert --src {quoted} --dst NEW'
            )
        _refuse_unmerged(self.path)
        try:
            self._reader = AnyReader(self.path)
            self._reader.open()
        except Exception as error:  # any file, read by the parsers of three formats
            if isinstance(error, OSError) and error.errno in _FULL:
                raise BagError(
                    f'{path} cannot be unpacked to {tempfile.gettempdir()} ({error.strerror}); '
                    'set TMPDIR to a folder with more space'
                ) from error
            raise BagError(
                f'{path} is not a readable rosbag2 ({_reason(error).rstrip(".")}); '
                f'{_remedy(self.path)}'
            ) from error
        self.topics: dict[str, Topic] = {}
        for connection in self._reader.connections:
            name, kind = connection.topic, connection.msgtype
            known = self.topics.get(name, Topic(name, kind, 0))
            # In ROS, a topic has one type; of two, as in merged files, the first one is taken.
            if kind == known.type:
                self.topics[name] = Topic(name, kind, known.count + connection.msgcount)

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return max(0, self._reader.duration - 1) / 1e9

    def messages(self, topics: Collection[str]) -> Iterator[BagMessage]:
        """Yield the messages of these topics in the order of their times.

        They can be fewer than `self.topics` counts: for a folder, the counts come from its
        metadata.yaml.

        Raises:
            BagError: the bag is damaged; the text says after how many messages.
        """
        # The connections of the files, not of metadata.yaml: rosbags skips a topic if the two
        # differ in QoS, for example because metadata.yaml was edited for another ROS version.
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
            except Exception as error:  # one message or chunk, whose bytes can be anything
                raise BagError(
                    f'{self.path} is damaged after {count} messages: {_reason(error)}'
                ) from error
            if item is None:
                return
            connection, time_ns, cdr = item
            # SQLite stores a value of any type, and MCAP times that ROS does not have.
            if not isinstance(time_ns, int) or not 0 <= time_ns <= _MAX_TIME_NS:
                raise BagError(
                    f'{self.path} is damaged after {count} messages: the time of the next one is '
                    f'{time_ns!r}'
                )
            yield BagMessage(connection.topic, connection.msgtype, time_ns, cdr)
            count += 1

    def connection(self, topic: str) -> Connection:
        """Return the type, definition and QoS of a topic, for `BagWriter.add_like`."""
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


def is_bag_folder(folder: Path) -> bool:
    """Return whether a folder has a metadata.yaml, or files named as a recorder names them.

    Such files without a metadata.yaml are what a killed recorder leaves.
    """
    name = re.compile(re.escape(folder.resolve().name) + r'_\d+')
    return (folder / 'metadata.yaml').exists() or any(
        file.suffix in BAG_SUFFIXES and name.fullmatch(file.stem) for file in folder.iterdir()
    )


def _refuse_unmerged(path: Path) -> None:
    """Raise BagError if messages are still in sqlite3's write-ahead log: they would be lost."""
    logs = path.glob('*.db3-wal') if path.is_dir() else [path.with_name(f'{path.name}-wal')]
    for log in logs:
        if log.exists() and log.stat().st_size:
            database = str(log).removesuffix('-wal')
            raise BagError(
                f'{log} contains messages of the bag: its recorder is still running or was '
                f"killed; if it was killed, run: sqlite3 '{database}' 'PRAGMA wal_checkpoint'"
            )


def _remedy(path: Path) -> str:
    """Return what helps if a bag cannot be read."""
    files = sorted(path.glob('*.mcap')) if path.is_dir() else [path]
    for file in files:
        if file.suffix == '.mcap' and _lacks_end(file):
            return (
                f'{file.name} is truncated; its recorder was probably killed; repair it: '
                f'mcap recover {shlex.quote(str(file))} -o NEW.mcap'
            )
    has_metadata = (path / 'metadata.yaml').exists()
    if path.is_dir() and not has_metadata and (files or any(path.glob('*.db3'))):
        return (
            'its recorder was killed, or metadata.yaml was removed; create it again: '
            f'ros2 bag reindex {shlex.quote(str(path))}'
        )
    return 'give the folder of a bag, or a .mcap or .db3 file'


def _lacks_end(file: Path) -> bool:
    """Return whether a file has MCAP's magic bytes at its beginning, but not at its end."""
    try:
        with file.open('rb') as opened:
            begins = opened.read(len(_MCAP_MAGIC)) == _MCAP_MAGIC
            opened.seek(-len(_MCAP_MAGIC), os.SEEK_END)
            return begins and opened.read() != _MCAP_MAGIC
    except OSError:
        return False


def _reason(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
