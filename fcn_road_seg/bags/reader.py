"""TODO: one line."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fcn_road_seg.bags.typestore import BagError, _require_rosbags, _typestore

if TYPE_CHECKING:
    from rosbags.interfaces import Connection


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


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
