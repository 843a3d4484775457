"""A camera that sends hostile messages to a live node, and checks what the node makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import psutil
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy
from sensor_msgs.msg import CompressedImage, Image

from fcn_road_seg.synthetic import SyntheticDrive
from test.conftest import NodeProcess
from test.helpers import hostile_messages
from test.helpers.message_checks import is_readable
from test.helpers.peer import Peer, iou_of, pixels_of, values_of

# A small network input, as some messages are readable and are segmented.
NODE = ('-p', 'process_every_frame:=true', '-p', 'input_height:=96', '-p', 'input_width:=128')
COUNTED = ('received', 'segmented', 'refused', 'dropped', 'too old', 'ignored')
BATCH = 1000


@dataclass
class Outcome:
    """How many messages were thrown and refused, and the node's memory (MiB) after each batch."""

    thrown: int = 0
    refused: int = 0
    rss_mib: list[int] = field(default_factory=list)


def draw_each(
    strategy: SearchStrategy, count: int, number: int, take: Callable[[object], None]
) -> None:
    """Pass `count` messages to `take`; the same `number` gives the same messages."""

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def draw(msg: object) -> None:
        take(msg)

    draw()


def throw_at_node(node: NodeProcess, peer: Peer, name: str, count: int) -> Outcome:
    """Send `count` messages of a strategy in `hostile_messages`, a good frame after each batch.

    Fails unless the node counts every message as what it is, drops none, and gives every good
    frame the same, correct mask.
    """
    process = psutil.Process(node.process.pid)
    frame, label = SyntheticDrive(3_000_007, (240, 320)).render(t_s=1.0)
    strategy = getattr(hostile_messages, name)()
    (first,) = (pixels_of(mask) for mask in peer.answer(peer.send(frame)))
    assert iou_of(first, label) > 0.8
    outcome = Outcome()
    expected = counts(peer)

    def send(msg: Image | CompressedImage) -> None:
        bad = name.endswith('beyond_repair') or not is_readable(msg)
        outcome.thrown += 1
        outcome.refused += bad
        expected[:3] += 1, not bad, bad
        peer.publish(msg)

    for number, begin in enumerate(range(0, count, BATCH)):
        draw_each(strategy, min(BATCH, count - begin), number, send)
        (mask,) = peer.answer(peer.send(frame))
        assert np.array_equal(pixels_of(mask), first)
        expected[:2] += 1
        assert counts(peer).tolist() == expected.tolist(), COUNTED
        outcome.rss_mib.append(process.memory_info().rss >> 20)
    return outcome


def counts(peer: Peer) -> np.ndarray:
    values = values_of(peer.next_diagnostics())
    return np.array([int(values[f'frames {name}']) for name in COUNTED])
