"""The node under more than it can take, beside others, and for a long time."""

import os

import pytest

pytest.importorskip('rclpy')

from fcn_road_seg.utils.percentiles import nearest_rank
from test.helpers.load import (
    growth,
    latencies_each_ms,
    live_nodes,
    overload,
    receive_share,
    soak,
)
from test.stress.conftest import SHARE

pytestmark = pytest.mark.stress

KITTI_HW = (375, 1242)
# Of one core, at ten times the rate of the network.
MAX_RECEIVE_SHARE = 0.5
MAX_GROWTH = 1.01
MAX_P99_RATIO = 1.3
LIGHT = 'checkpoint:=lite'


def test_overload_costs_no_latency_and_every_frame_is_counted(times, report, tmp_path):
    with live_nodes(['overload'], ['device:=cpu'], KITTI_HW, tmp_path) as (node,):
        seen = overload(node, seconds=times(120))
        share = receive_share(node, seen.rate_hz, seconds=times(20))
    counts = seen.counts
    assert seen.sent == counts['received'] + counts['lost']
    assert counts['received'] == counts['segmented'] + counts['dropped']
    for p, latency_ms in seen.latency_ms.items():
        assert latency_ms < 2 * seen.network_ms[p], p
    assert share < MAX_RECEIVE_SHARE
    report(
        f'frames at ten times the rate of the network ({seen.rate_hz:.0f} Hz)',
        seen.sent,
        f'{counts["segmented"]:,} segmented + {counts["dropped"]:,} dropped + {counts["lost"]:,} '
        f'lost before the node = all; latency p50 {seen.latency_ms[50]:.0f} ms, p99 '
        f'{seen.latency_ms[99]:.0f} ms, network p50 {seen.network_ms[50]:.0f} ms, p99 '
        f'{seen.network_ms[99]:.0f} ms; to receive them takes {100 * share:.0f} % of a core',
    )


def test_three_nodes_on_two_cores_are_served_alike(times, report, tmp_path):
    names, rate_hz, seconds = ['left', 'front', 'right'], 10.0, times(120)
    cores = os.sched_getaffinity(0)
    # The processes that are started inherit it.
    os.sched_setaffinity(0, sorted(cores)[:2])
    try:
        with live_nodes(names, [LIGHT, 'device:=cpu'], KITTI_HW, tmp_path) as nodes:
            each_ms = latencies_each_ms(nodes, rate_hz, seconds)
    finally:
        os.sched_setaffinity(0, cores)
    p99_ms = [nearest_rank(latencies_ms, 99) for latencies_ms in each_ms]
    assert max(p99_ms) <= MAX_P99_RATIO * min(p99_ms)
    report(
        'frames of three cameras at 10 Hz to three nodes on two cores, light network',
        round(3 * rate_hz * seconds),
        f'p99 {", ".join(f"{ms:.0f}" for ms in p99_ms)} ms from stamp to mask',
    )


@pytest.mark.parametrize('network', ['light', 'full'])
def test_soak_leaves_memory_threads_files_and_latency_as_they_were(
    network, times, report, tmp_path
):
    parameters = ['device:=cpu', *([LIGHT] if network == 'light' else [])]
    size, unit = (times(10_000), 'frames') if network == 'light' else (times(30 * 60), 'seconds')
    with live_nodes(['soak'], parameters, KITTI_HW, tmp_path) as (node,):
        samples = soak(node, **{unit: size})
    grown = {name: growth(samples, name) for name in ('rss_mib', 'threads', 'files', 'latency_ms')}
    assert grown['threads'] == grown['files'] == 1
    assert grown['rss_mib'] < MAX_GROWTH
    # A short run measures the other programs of the machine.
    if SHARE == 1:
        assert grown['latency_ms'] < MAX_GROWTH
    last = samples[-1]
    report(
        f'{unit} of full load, {network} network',
        size,
        f'RSS {last.rss_mib:.0f} MiB ({100 * (grown["rss_mib"] - 1):+.2f} %), {last.threads} '
        f'threads, {last.files} files, latency {last.latency_ms:.0f} ms '
        f'({100 * (grown["latency_ms"] - 1):+.2f} %)',
    )
