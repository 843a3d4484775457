"""Segments one bag after another with one network, in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fcn_road_seg.bags.bag_segmenter import BagSegmenter, camera_topics
from fcn_road_seg.bags.options import BagOptions
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.bags.writer import BagWriter, atomic_bag_writer
from fcn_road_seg.fleet import ranges
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.manifest import Request, read_manifest, write_manifest
from fcn_road_seg.fleet.staging import publish, staging_folder
from fcn_road_seg.inference.gpu_errors import gpu_error_line

if TYPE_CHECKING:
    from fcn_road_seg.inference.segmenter import RoadSegmenter

# If a process dies during a bag, the bag is tried again, each time by another process.
MAX_ATTEMPTS = 3


class Outcome(NamedTuple):
    """A finished bag: its manifest, or why there is none.

    `is_fatal` means that all bags would fail, `ends_process` that all further bags in the same
    process would.
    """

    job: BagJob
    manifest: dict[str, Any] | None = None
    error: str = ''
    is_fatal: bool = False
    ends_process: bool = False


def reason_of(error: ValueError | OSError | RuntimeError) -> str:
    """Return why a bag failed, with the advice to run it again where that can help.

    Raises:
        RuntimeError: `error` itself, unless it is a GPU error.
    """
    if isinstance(error, RuntimeError):
        line = gpu_error_line(error)
        if line is None:
            raise error
        return line
    # A fault of the disk or the network may be repaired; a bad bag or option stays bad.
    if isinstance(error, OSError):
        return f'{error}; fix that and run the command again'
    return str(error)


class Progress(NamedTuple):
    """Number of frames done so far of a bag that is not finished."""

    job: BagJob
    frames: int


@dataclass(frozen=True)
class Assignment:
    """What is the same for all bags and is sent to each worker; bags are written to `out`."""

    out: Path
    options: BagOptions
    make_segmenter: Callable[[], RoadSegmenter]
    request: Request


def _ignore() -> None:
    """Do nothing, in place of a display."""


class Labeller:
    """Segments bags as `segment_bag` does a single one; a bag gets its name once it is complete.

    Raises:
        BagError, CheckpointError, SegmenterError, ValueError: as `make_segmenter`, or the
            checkpoint on this machine is not the one that the run started with.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._out, self._options = assignment.out, assignment.options
        self._request = assignment.request
        self._segmenter = assignment.make_segmenter()
        found, asked = self._segmenter.checkpoint_sha256, self._request.checkpoint_sha256
        if found != asked:
            raise BagError(
                f'the checkpoint is {found[:12]} here, but {asked[:12]} where the run started; '
                'give all machines the same file, and do not change it during the run'
            )

    @property
    def computed(self) -> dict[str, str]:
        """Device, precision and backend: if they differ between machines, masks can, too."""
        segmenter = self._segmenter
        return {
            'device': segmenter.device.type,
            'precision': segmenter.precision,
            'backend': str(segmenter.backend),
        }

    def label(self, job: BagJob, advance: Callable[[], object] = _ignore) -> dict[str, Any]:
        """Write the bag of `job`, unless it exists, and return its manifest.

        `advance` is called after each frame.

        Raises:
            BagError: as BagReader, BagSegmenter, atomic_bag_writer and read_manifest.
            OSError: a file cannot be read or written.
        """
        return self._write(job, lambda work, _bag: work.run_range(advance), self.computed)

    def label_range(self, job: BagJob, first: int, end: int | None) -> ranges.Range:
        """Write the output messages for a range of a bag (see `BagSegmenter.run_range`).

        Raises:
            BagError: as BagReader and BagSegmenter.
            OSError: a file cannot be read or written.
        """
        path = ranges.range_path(self._out, job, self._request.of(job), first, end)
        if not path.exists():
            with (
                BagReader(job.source) as reader,
                ranges.atomic_range_writer(path) as (bag, finish),
            ):
                work, _ = self._prepare(reader, bag)
                work.run_range(_ignore, first, end)
                finish(work.counts, self.computed)
        return ranges.read_range(path)

    def merge(self, job: BagJob, parts: Sequence[ranges.Range]) -> dict[str, Any]:
        """Write the bag of `job` from all its ranges, in their order, and return its manifest.

        Raises:
            BagError: the ranges were computed differently, or as `label`.
            OSError: a file cannot be read or written.
        """

        def replay(work: BagSegmenter, bag: BagWriter) -> None:
            for part in parts:
                for topic, time_ns, cdr in ranges.messages_of(part.path):
                    bag.write(topic, time_ns, cdr)
                work.counts.add(part.counts)

        computed = parts[0].computed
        if any(part.computed != computed for part in parts):
            ranges.remove_ranges(self._out, job)
            raise BagError(
                'its ranges were computed by machines with different precisions or backends; '
                'set both with --precision and --backend'
            )
        return self._write(job, replay, computed)

    def _write(
        self,
        job: BagJob,
        fill: Callable[[BagSegmenter, BagWriter], None],
        computed: Mapping[str, str],
    ) -> dict[str, Any]:
        asked = self._request.of(job)
        if manifest := read_manifest(job.out, asked):
            return manifest
        with staging_folder(self._out) as folder:
            staged = folder / job.out.name
            with (
                BagReader(job.source) as reader,
                atomic_bag_writer(staged, self._options.storage) as bag,
            ):
                work, left_out = self._prepare(reader, bag)
                fill(work, bag)
                work.counts.refuse_none(work.frame_count)
            made = {'computed': computed, 'counts': vars(work.counts), 'left_out': left_out}
            manifest = write_manifest(staged, asked, made)
            if publish(staged, job.out):
                return manifest
        # Another run was faster.
        if manifest := read_manifest(job.out, asked):
            return manifest
        raise BagError(f'{job.out} was removed while it was written; run the command again')

    def _prepare(self, reader: BagReader, bag: BagWriter) -> tuple[BagSegmenter, list[str]]:
        options = self._options
        cameras = camera_topics(reader.topics, options.topics)
        grids = options.grid.makers(reader, cameras) if options.grid else None
        work = BagSegmenter(reader, bag, self._segmenter, cameras, options.outputs, grids=grids)
        return work, work.copy_originals() if options.originals else []
