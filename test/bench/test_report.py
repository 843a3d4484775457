import pytest

from fcn_road_seg.bench.report import digits, node_lines


@pytest.mark.parametrize(
    ('ms', 'text'),
    [(1308.2, '1308'), (126.4, '126'), (12.71, '12.7'), (3.5, '3.50'), (0.0519, '0.052')],
)
def test_short_times_keep_theirdigits(ms, text):
    assert digits(ms) == text


@pytest.mark.parametrize(
    ('sent_hz', 'text'), [(29.97, '48x64 frames at 29.97 Hz, '), (None, '48x64 frames, ')]
)
def test_rate_of_frames_is_told_if_there_is_more_than_one(sent_hz, text):
    counts = ('sent', 'received', 'segmented', 'dropped', 'refused')
    node = {f'frames_{name}': 1 for name in counts} | {'masks_received': 1}
    node |= {'device': 'cpu', 'sent_hz': sent_hz, 'cpu_ms_per_frame': 1.0, 'peak_memory_mib': 1.0}
    report = {'frame': '48x64', 'node': {'overlay_off': node, 'overlay_on': node}}
    assert f'node on cpu, {text}overlay off: 1 sent, ' in '\n'.join(node_lines(report))
