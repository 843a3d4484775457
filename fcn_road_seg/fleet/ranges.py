"""Files with the output messages for a range of a long bag, until its ranges are merged.

They hold plain records, in the order in which they were written, so that the merged bag is
written exactly as if it had not been divided.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

from fcn_road_seg.bags.bag_segmenter import SegmentationCounts
from fcn_road_seg.bags.writer import BagWriter
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.staging import FOLDER
from fcn_road_seg.utils.atomic_write import atomic_write

# Lengths of the topic and of the message in bytes, and the message's time in ns.
_HEAD = struct.Struct('<HIq')


@dataclass(frozen=True)
class Range:
    """A written range: its file, its counts, and what computed it."""

    path: Path
    counts: SegmentationCounts
    computed: Mapping[str, str]


def range_path(
    out: Path, job: BagJob, asked: Mapping[str, Any], first: int, end: int | None
) -> Path:
    """Return the file of a range of messages of a bag that is made as `asked`."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return _folder(out, job) / f'{digest[:16]}_{first}_{end}'


def remove_ranges(out: Path, job: BagJob) -> None:
    """Remove the files of all ranges of a bag."""
    shutil.rmtree(_folder(out, job), ignore_errors=True)


@contextmanager
def atomic_range_writer(path: Path) -> Iterator[tuple[BagWriter, Callable[..., None]]]:
    """Yield a writer of a range, and a function that adds its counts and what computed it.

    Call that function last. The file is complete or not there at all, as with `atomic_write`.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part, part.open('wb') as file:

        def finish(counts: SegmentationCounts, computed: Mapping[str, str]) -> None:
            end = json.dumps({'counts': vars(counts), 'computed': computed}).encode()
            file.write(end + struct.pack('<Q', len(end)))

        yield BagWriter(cast('Any', _RecordWriter(file))), finish


def read_range(path: Path) -> Range:
    """Return a written range without its messages.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open('rb') as file:
        file.seek(_start_of_end(file))
        end = json.loads(file.read()[:-8])
    counts = end['counts']
    for name in ('errors', 'without_grid'):
        counts[name] = Counter(counts[name])
    return Range(path, SegmentationCounts(**counts), end['computed'])


def messages_of(path: Path) -> Iterator[tuple[str, int, bytes]]:
    """Yield topic, time in ns and CDR bytes of each message, in the order of writing.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open('rb') as file:
        end = _start_of_end(file)
        file.seek(0)
        while file.tell() < end:
            topic_size, size, time_ns = _HEAD.unpack(file.read(_HEAD.size))
            topic = file.read(topic_size).decode()
            yield topic, time_ns, file.read(size)


class _RecordWriter:
    """Takes the place of rosbags' Writer in a `BagWriter`, and writes only the messages."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def add_connection(self, topic: str, msgtype: str, **_unused: object) -> Any:
        return SimpleNamespace(topic=topic, msgtype=msgtype)

    def write(self, connection: Any, time_ns: int, cdr: bytes) -> None:
        topic = connection.topic.encode()
        self._file.write(_HEAD.pack(len(topic), len(cdr), time_ns) + topic)
        self._file.write(cdr)


def _start_of_end(file: BinaryIO) -> int:
    """Return where the messages end: the JSON begins there, and its length follows it."""
    position = file.seek(-8, 2)
    (size,) = struct.unpack('<Q', file.read(8))
    return position - int(size)


def _folder(out: Path, job: BagJob) -> Path:
    name = hashlib.sha256(str(job.out.relative_to(out)).encode('utf-8', 'surrogateescape'))
    return out / FOLDER / f'ranges-{name.hexdigest()[:16]}'
