"""The demo: frames through the live node, pictures and figures out, checks at the end."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from fcn_road_seg.demo.ground import CAMERA_HEIGHT_M
from fcn_road_seg.demo.report import check, figure_lines, summarise, write_pictures
from fcn_road_seg.live.camera_message import CameraMessage
from fcn_road_seg.live.diagnostics_listener import frames_between
from fcn_road_seg.live.errors import LiveError
from fcn_road_seg.live.recorder import GRID, Recording
from fcn_road_seg.live.session import live_session
from fcn_road_seg.utils.atomic_write import write_json

CHECKPOINT = 'checkpoint:='
LIGHT_NETWORK = f'{CHECKPOINT}lite'
# Not every run writes all of them.
FILES = (
    *('node.log', 'node_lite.log', 'summary.json'),
    *('contact_sheet.png', 'overlay.mp4', 'grid.png', 'grid.mp4'),
)


def run_demo(
    messages: Sequence[CameraMessage], parameters: Sequence[str], out: Path
) -> Iterator[str]:
    """Send `messages` through a node with `parameters`, each NAME:=VALUE; write files to `out`.

    If the default network misses frames, and `parameters` name no checkpoint, all are sent again
    through the light network, and that run is the one that is shown. `out` gets each node's log,
    summary.json, contact_sheet.png, overlay.mp4 and, for frames with a calibration, grid.png and
    grid.mp4; those of an earlier run are removed. Yields lines of text for the user as the run
    proceeds.

    Raises:
        LiveError: the node or the camera did not start, or ended early.
        DemoError: masks are missing or wrong; what came back is written all the same.
        VideoError, OSError: a file cannot be written or removed.
    """
    for name in FILES:
        (out / name).unlink(missing_ok=True)
    recording, summary = yield from _run(messages, parameters, out / 'node.log')
    missed = summary['frames_sent'] - summary['frames_segmented'] - summary['frames_refused']
    if missed and not any(parameter.startswith(CHECKPOINT) for parameter in parameters):
        yield (
            f'the default network missed {missed} of {summary["frames_sent"]} frames at this '
            f'rate; the pictures are those of the light one ({LIGHT_NETWORK})'
        )
        default = {'default_network': summary}
        parameters = [LIGHT_NETWORK, *parameters]
        recording, summary = yield from _run(messages, parameters, out / 'node_lite.log')
        summary |= default
    write_json(summary, out / 'summary.json')
    write_pictures(out, messages, recording)
    check(messages, recording, summary)
    yield f'look at {out}/contact_sheet.png and {out}/overlay.mp4'
    if recording.grids:
        yield f'look at {out}/grid.png and {out}/grid.mp4: frame, overlay and the road from above'


def _run(
    messages: Sequence[CameraMessage], parameters: Sequence[str], log_path: Path
) -> Generator[str, None, tuple[Recording, dict[str, Any]]]:
    """Yield the figures of a run as text; return what came back and the figures."""
    yield f'starting the node (its log: {log_path})'
    recording, frame_counts = play(messages, parameters, log_path)
    summary = summarise(messages, recording, frame_counts)
    yield from figure_lines(messages, summary)
    return recording, summary


def play(
    messages: Sequence[CameraMessage], parameters: Sequence[str], log_path: Path
) -> tuple[Recording, dict[str, int]]:
    """Return what came back for `messages`, and what the node counted (see `frames_between`).

    Raises:
        LiveError: the node or the camera did not start, or ended early.
    """
    # With reliable transport, frames are dropped only for newer ones, never lost to a full socket.
    parameters = ['input_reliability:=reliable', *parameters]
    topics = ['mask', 'overlay']
    if all(message.camera_info is not None for message in messages):
        topics.append(GRID)
        parameters = [f'camera_height:={CAMERA_HEIGHT_M}', *parameters]
    with live_session(messages, parameters, log_path, topics, keep_pictures=True) as session:
        before = session.next_status()
        recording = session.stream([message.offset_s for message in messages])
        frame_counts = frames_between(before, session.next_status())
    if session.process.returncode:
        raise LiveError(f'the node ended with status {session.process.returncode}; see {log_path}')
    return recording, frame_counts
