import itertools
import threading
import time
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message

from fcn_road_seg.ros.diagnostics import KEYS, Facts, Health, diagnostic_array
from fcn_road_seg.ros.frame_statistics import PUBLISHED, WINDOW_S

NAME = '/fcn_road_seg: segmentation'
ACTIVE = Facts('active')
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE
# All times are multiples of 1/8 s, which add up exactly.
PERIOD_S = 0.125


class Clock:
    """A steady clock that a test moves; it starts anywhere, as a real one does."""

    def __init__(self):
        self.s = 4096.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(clock)


def level_and_message(health, facts=ACTIVE):
    status = health.status(NAME, facts)
    return status.level, status.message


def values(health, facts=ACTIVE):
    return {v.key: v.value for v in health.status(NAME, facts).values}


def run_camera(health, clock, seconds, outcomes=('segmented',)):
    """Receive a frame each PERIOD_S, the first one now, with `outcomes` in turn."""
    for index in range(int(seconds / PERIOD_S)):
        health.received()
        match outcomes[index % len(outcomes)]:
            case 'segmented':
                health.segmented(0.25, 0.125)
            case 'refused':
                health.refused('bad step')
            case other:
                getattr(health, other)()
        clock.s += PERIOD_S


def test_keys_are_those_that_dashboards_were_told():
    assert KEYS == (
        'state',
        'enabled',
        'input topic',
        'input reliability',
        'incompatible QoS',
        'input rate (Hz)',
        'output rate (Hz)',
        'frames received',
        'frames segmented',
        'frames dropped',
        'frames too old',
        'frames refused',
        'frames ignored',
        'frames waiting',
        'frames without usable stamp',
        'last error',
        'latency p50 (ms)',
        'latency p95 (ms)',
        'latency p99 (ms)',
        'inference p50 (ms)',
        'inference p95 (ms)',
        'inference p99 (ms)',
        'overhead p50 (ms)',
        'overhead p95 (ms)',
        'overhead p99 (ms)',
        'device',
        'precision',
        'backend',
        'GPU memory (MiB)',
        'checkpoint',
        'published mask',
        'published overlay',
        'published confidence',
        'published class_mask',
        'published mask/compressed',
        'published overlay/compressed',
        'published camera_info',
    )


def test_reference_explains_every_key():
    text = (Path(__file__).parents[2] / 'docs' / 'node.md').read_text()
    assert [key for key in KEYS if f'`{key}`' not in text] == []


def test_status_of_a_node_not_configured_has_every_key_and_no_numbers_made_up(health):
    found = values(health, Facts('unconfigured'))
    assert tuple(found) == KEYS
    unknown = {key for key, value in found.items() if value == 'n/a'}
    assert unknown == {
        'input topic',
        'input reliability',
        'input rate (Hz)',
        'output rate (Hz)',
        *(f'{of} p{p} (ms)' for of in ('latency', 'inference', 'overhead') for p in (50, 95, 99)),
        'device',
        'precision',
        'backend',
        'GPU memory (MiB)',
        'checkpoint',
    }
    assert (found['last error'], found['incompatible QoS']) == ('none', 'none')


def test_facts_are_shown_as_they_were_given(health):
    facts = Facts(
        state='active',
        enabled=False,
        input_topic='/camera/image_raw',
        input_reliability='best_effort',
        incompatible_qos='we ask for reliable, the camera offers best effort',
        waiting=3,
        device='cuda:0 (H200)',
        precision='float16',
        gpu_memory_mib=511.6,
        checkpoint_sha256='0123456789abcdef' * 4,
    )
    status = health.status(NAME, facts)
    assert status.name == NAME
    assert status.hardware_id == 'cuda:0 (H200)'
    found = values(health, facts)
    assert found['state'] == 'active'
    assert found['enabled'] == 'false'
    assert found['input topic'] == '/camera/image_raw'
    assert found['input reliability'] == 'best_effort'
    assert found['incompatible QoS'] == 'we ask for reliable, the camera offers best effort'
    assert found['frames waiting'] == '3'
    assert found['device'] == 'cuda:0 (H200)'
    assert found['precision'] == 'float16'
    assert found['GPU memory (MiB)'] == '512'
    assert found['checkpoint'] == '0123456789ab'


def test_rates_are_right_two_seconds_after_the_first_frame_however_long_that_took(health, clock):
    clock.s += 100
    run_camera(health, clock, 2, ('segmented', 'dropped'))
    found = values(health)
    assert found['input rate (Hz)'] == '7.5'  # The frame of this instant is still to come.
    health.received()
    assert values(health)['input rate (Hz)'] == '8.0'
    assert values(health)['output rate (Hz)'] == '3.5'


def test_rates_are_not_known_in_the_first_second(health, clock):
    run_camera(health, clock, 0.875)
    assert values(health)['input rate (Hz)'] == 'n/a'
    assert level_and_message(health) == (OK, 'starting')
    clock.s += 0.125
    assert values(health)['input rate (Hz)'] == '6.0'


def test_rates_are_those_of_the_last_ten_seconds(health, clock):
    run_camera(health, clock, 30)
    for _ in range(5):  # Half the rate, for half of the window.
        health.received()
        clock.s += 1.0
    # 5 frames of the last 5 s, and the 39 of the 5 s before whose age is below 10 s.
    assert values(health)['input rate (Hz)'] == '4.4'
    assert values(health)['output rate (Hz)'] == '3.9'
    clock.s += WINDOW_S
    assert values(health)['input rate (Hz)'] == '0.0'


def test_totals_and_what_was_published_count_from_the_start(health, clock):
    run_camera(
        health, clock, 4, ('segmented', 'segmented', 'dropped', 'refused', 'too_old', 'ignored')
    )
    clock.s += 2 * WINDOW_S
    health.dropped(7)
    health.dropped(0)
    for output in ('mask', 'mask', 'overlay/compressed'):
        health.published(output)
    health.resumed()
    assert health.totals() == {
        'received': 32,
        'segmented': 12,
        'dropped': 12,
        'too old': 5,
        'refused': 5,
        'ignored': 5,
    }
    found = values(health)
    for name, count in health.totals().items():
        assert found[f'frames {name}'] == str(count)
    published = [found[f'published {output}'] for output in PUBLISHED]
    assert published == ['2', '0', '0', '0', '0', '1', '0']


def test_output_that_the_node_does_not_have_is_an_error(health):
    with pytest.raises(KeyError, match='masks'):
        health.published('masks')


def test_percentiles_are_durations_that_were_measured(health):
    # 1 .. 200 ms in a mixed order: the 100th, 190th and 198th of them.
    for i in range(200):
        n = i * 77 % 200 + 1
        health.segmented(n / 1e3, n / 1e4)
    found = values(health)
    assert [found[f'latency p{p} (ms)'] for p in (50, 95, 99)] == ['100.00', '190.00', '198.00']
    assert [found[f'inference p{p} (ms)'] for p in (50, 95, 99)] == ['10.00', '19.00', '19.80']


def test_overhead_is_measured_where_the_network_can_be_told_apart(health):
    health.segmented(0.5, 0.4)
    assert values(health)['overhead p50 (ms)'] == 'n/a'
    for overhead_s in (0.004, 0.006, 0.005):
        health.segmented(0.5, 0.4, overhead_s)
    found = values(health)
    assert [found[f'overhead p{p} (ms)'] for p in (50, 95, 99)] == ['5.00', '6.00', '6.00']


def test_percentiles_of_few_frames_are_among_them(health):
    health.segmented(0.03, 0.01)
    assert values(health)['latency p50 (ms)'] == values(health)['latency p99 (ms)'] == '30.00'
    for latency_s in (0.01, 0.02):
        health.segmented(latency_s, 0.01)
    assert values(health)['latency p50 (ms)'] == '20.00'
    assert values(health)['latency p95 (ms)'] == '30.00'


def test_percentiles_forget_what_is_older_than_the_window(health, clock):
    health.segmented(5.0, 4.0)
    clock.s += WINDOW_S - PERIOD_S
    health.segmented(0.1, 0.05)
    assert values(health)['latency p99 (ms)'] == '5000.00'
    clock.s += PERIOD_S
    assert values(health)['latency p99 (ms)'] == '100.00'
    assert values(health)['inference p99 (ms)'] == '50.00'
    clock.s += WINDOW_S
    assert values(health)['latency p50 (ms)'] == 'n/a'


@pytest.mark.parametrize(
    'latency_s', [None, -0.001, -5.0, 60.001, 1.7e9, float('nan'), float('inf'), float('-inf')]
)
def test_latency_between_two_clocks_is_counted_but_not_measured(health, latency_s):
    health.segmented(latency_s, 0.05)
    found = values(health)
    assert found['frames segmented'] == found['frames without usable stamp'] == '1'
    assert found['latency p50 (ms)'] == 'n/a'
    assert found['inference p50 (ms)'] == '50.00'
    health.segmented(0.1, 0.05)
    assert values(health)['frames without usable stamp'] == '1'
    assert values(health)['latency p99 (ms)'] == '100.00'


@pytest.mark.parametrize(('latency_s', 'text'), [(0.0, '0.00'), (60.0, '60000.00')])
def test_latency_at_either_end_of_what_is_plausible_is_measured(health, latency_s, text):
    health.segmented(latency_s, 0.05)
    assert values(health)['frames without usable stamp'] == '0'
    assert values(health)['latency p50 (ms)'] == text


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'finalized'])
def test_node_that_is_not_active_is_ok_whatever_went_before(health, clock, state):
    run_camera(health, clock, 3, ('refused',))
    clock.s += 100
    assert level_and_message(health, Facts(state, enabled=False)) == (OK, state)


def test_disabled_node_is_ok_whatever_went_before(health, clock):
    run_camera(health, clock, 3, ('refused', 'dropped'))
    assert level_and_message(health, Facts('active', enabled=False)) == (OK, 'disabled')


def test_healthy_node_tells_its_rate(health, clock):
    run_camera(health, clock, 12)
    health.received()
    assert level_and_message(health) == (OK, '8.0 Hz')


def test_refused_frames_are_an_error_for_the_length_of_the_window(health, clock):
    # What is before the window, or was ignored, is none of the 20.
    run_camera(health, clock, 20, ('refused', 'dropped'))
    clock.s += WINDOW_S
    health.ignored()
    run_camera(health, clock, 2.5, ('segmented',) * 4 + ('refused',))
    assert level_and_message(health) == (ERROR, '4 of 20 frames refused: bad step')
    assert values(health)['last error'] == 'bad step'
    run_camera(health, clock, 9.75)
    assert level_and_message(health)[0] == ERROR
    run_camera(health, clock, PERIOD_S)
    assert level_and_message(health)[0] == OK
    assert values(health)['last error'] == 'bad step'


def test_refused_frames_come_before_all_other_complaints(health, clock):
    run_camera(health, clock, 2, ('dropped', 'refused'))
    clock.s += 5
    facts = Facts('active', incompatible_qos='offered: best effort', max_image_age_s=0.01)
    assert level_and_message(health, facts) == (ERROR, '8 of 16 frames refused: bad step')


def test_last_error_is_one_short_line_that_every_reader_can_take(health):
    health.refused("encoding 'a\nb\0c\ud800d' \t is not\x1b supported; ü ok" + 'x' * 10**6)
    text = values(health)['last error']
    assert text.startswith("encoding 'a b c d' is not supported; ü okxxx")
    assert len(text) <= 200
    assert level_and_message(health) == (ERROR, f'1 of 1 frames refused: {text}')


def test_silence_is_stale_after_two_seconds_and_ends_with_the_next_frame(health, clock):
    run_camera(health, clock, 12)
    clock.s += 1.75
    assert level_and_message(health)[0] == OK
    clock.s += 0.125
    assert level_and_message(health) == (STALE, 'no frame for 2.0 s')
    clock.s += 3.25
    assert level_and_message(health) == (STALE, 'no frame for 5.2 s')
    health.received()
    assert level_and_message(health)[0] == OK


def test_node_without_a_first_frame_is_stale_after_two_seconds(health, clock):
    clock.s += 1.875
    assert level_and_message(health) == (OK, 'starting')
    clock.s += 0.125
    assert level_and_message(health) == (STALE, 'no frame yet')


def test_frames_that_arrive_while_others_wait_are_input_enough(health, clock):
    # A network that takes long: nothing ends, but the camera is not silent.
    for _ in range(24):
        health.received()
        clock.s += PERIOD_S
    assert level_and_message(health)[0] == OK


def test_activation_gives_the_camera_time_and_begins_the_windows_anew(health, clock):
    run_camera(health, clock, 3, ('refused', 'dropped', 'segmented'))
    clock.s += 5
    health.resumed()
    assert level_and_message(health) == (OK, 'starting')
    assert values(health)['latency p50 (ms)'] == values(health)['inference p50 (ms)'] == 'n/a'
    clock.s += 2
    assert level_and_message(health) == (STALE, 'no frame yet')
    run_camera(health, clock, 2)
    health.received()
    assert level_and_message(health) == (OK, '8.0 Hz')


def test_incompatible_qos_is_told_only_while_it_keeps_frames_away(health, clock):
    text = 'input asks for reliable, /camera offers best effort'
    facts = Facts('active', incompatible_qos=text)
    assert level_and_message(health, facts) == (WARN, text)
    clock.s += 60
    assert level_and_message(health, facts) == (WARN, text)
    run_camera(health, clock, 2)  # From another publisher, that does fit.
    health.received()
    assert level_and_message(health, facts) == (OK, '8.0 Hz')
    clock.s += 2
    assert level_and_message(health, facts) == (WARN, text)


def test_dropped_frames_are_a_warning_with_both_rates_and_the_share(health, clock):
    run_camera(health, clock, 24, ('segmented', 'dropped', 'dropped'))
    health.received()
    assert level_and_message(health) == (
        WARN,
        'input 8.0 Hz, output 2.6 Hz: 67 % dropped for newer frames',
    )


def test_frames_dropped_and_too_old_are_told_apart(health, clock):
    run_camera(health, clock, 24, ('segmented', 'dropped', 'too_old', 'too_old'))
    health.received()
    assert level_and_message(health) == (
        WARN,
        'input 8.0 Hz, output 1.9 Hz: '
        '25 % dropped for newer frames, 50 % older than max_image_age',
    )


def test_one_dropped_frame_is_not_zero_percent_and_one_saved_not_a_hundred(health, clock):
    run_camera(health, clock, 2)
    health.dropped()
    for _ in range(183):
        health.segmented(0.1, 0.1)
    assert level_and_message(health)[1].endswith(': under 1 % dropped for newer frames')
    health.dropped(10**5)
    assert level_and_message(health)[1].endswith(': 99 % dropped for newer frames')


def test_drops_are_forgotten_after_the_window(health, clock):
    run_camera(health, clock, 2, ('dropped', 'too_old'))
    run_camera(health, clock, WINDOW_S)
    assert level_and_message(health)[0] == OK


def test_latency_above_max_image_age_is_late_where_that_is_set(health, clock):
    run_camera(health, clock, 12)
    health.received()
    assert level_and_message(health, Facts('active', max_image_age_s=0.0))[0] == OK
    assert level_and_message(health, Facts('active', max_image_age_s=0.25))[0] == OK
    assert level_and_message(health, Facts('active', max_image_age_s=0.2)) == (
        WARN,
        'input 8.0 Hz, output 7.9 Hz: late: latency p95 250 ms, max_image_age 200 ms',
    )


def test_few_latencies_above_max_image_age_are_not_late(health, clock):
    for latency_s in [0.1] * 19 + [0.5]:
        health.received()
        health.segmented(latency_s, 0.01)
    clock.s += 1
    assert level_and_message(health, Facts('active', max_image_age_s=0.2))[0] == OK
    health.segmented(0.5, 0.01)
    assert level_and_message(health, Facts('active', max_image_age_s=0.2))[0] == WARN


def test_frames_of_another_clock_are_never_late(health, clock):
    for _ in range(8):
        health.received()
        health.segmented(1.7e9, 0.01)
        clock.s += PERIOD_S
    assert level_and_message(health, Facts('active', max_image_age_s=0.2)) == (OK, '7.0 Hz')


def test_two_threads_lose_no_count_and_never_enter_together():
    entered = threading.Lock()
    together = []
    calls = itertools.count()

    def now_s():
        if not entered.acquire(blocking=False):
            together.append(threading.current_thread())
            return 0.0
        if next(calls) % 16 == 0:
            time.sleep(0)  # An invitation to the other thread.
        entered.release()
        return 0.0

    health = Health(now_s)

    def executor():
        for _ in range(10_000):
            health.received()
            health.dropped()

    def worker():
        for _ in range(10_000):
            health.segmented(None, 0.01)
            health.dropped()
            health.published('mask')

    threads = [threading.Thread(target=run) for run in (executor, worker)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        health.status(NAME, ACTIVE)
        time.sleep(0.01)
    assert not together
    found = values(health)
    assert found['frames received'] == found['frames segmented'] == '10000'
    assert found['frames without usable stamp'] == found['published mask'] == '10000'
    assert found['frames dropped'] == '20000'


def test_memory_does_not_grow_where_nobody_asks_for_the_status(health, clock):
    run_camera(health, clock, 1000)
    assert len(health._latencies_s._entries) == len(health._recent['received']._entries) == 80


def test_array_carries_status_and_stamp_through_the_middleware(health, clock):
    run_camera(health, clock, 4, ('segmented', 'refused'))
    health.refused('Größe \ud800 fits not')
    status = health.status(NAME, ACTIVE)
    array = diagnostic_array(status, Time(sec=12, nanosec=34))
    back = deserialize_message(serialize_message(array), DiagnosticArray)
    assert back == array
    assert (back.header.stamp.sec, back.header.stamp.nanosec) == (12, 34)
    assert (back.status[0].level, back.status[0].name) == (b'\x02', NAME)
    assert {v.key: v.value for v in back.status[0].values} == values(health)


EVENTS = st.one_of(
    st.tuples(st.just('wait'), st.floats(0, 30)),
    st.tuples(st.sampled_from(['received', 'too_old', 'ignored', 'resumed'])),
    st.tuples(st.just('dropped'), st.integers(0, 10**6)),
    st.tuples(st.just('refused'), st.text(st.characters())),
    st.tuples(st.just('published'), st.sampled_from(PUBLISHED)),
    st.tuples(st.just('segmented'), st.none() | st.floats(), st.floats(0, 1e6)),
)
FACTS = st.builds(
    Facts,
    state=st.sampled_from(['active', 'active', 'inactive']),
    enabled=st.booleans(),
    incompatible_qos=st.sampled_from(['', 'offered: best effort']),
    waiting=st.integers(0, 10**6),
    max_image_age_s=st.floats(0, 1e3),
    gpu_memory_mib=st.none() | st.floats(0, 1e6),
)


@given(st.lists(EVENTS, max_size=30), FACTS)
def test_any_sequence_of_events_gives_a_message_that_can_be_sent(events, facts):
    clock = Clock()
    health = Health(clock)
    for name, *arguments in events:
        if name == 'wait':
            clock.s += arguments[0]
        else:
            getattr(health, name)(*arguments)
    status = health.status(NAME, facts)
    array = diagnostic_array(status, Time())
    assert deserialize_message(serialize_message(array), DiagnosticArray) == array
    assert tuple(v.key for v in status.values) == KEYS
    assert status.message
    found = {v.key: v.value for v in status.values}
    for key in KEYS:
        if found[key] != 'n/a' and key.endswith((')', 'received', 'dropped', 'usable stamp')):
            assert 0 <= float(found[key]) < float('inf')
