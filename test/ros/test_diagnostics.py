import time
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hypothesis import given
from hypothesis import strategies as st
from rclpy.executors import SingleThreadedExecutor
from rclpy.serialization import deserialize_message, serialize_message

from fcn_road_seg.ros.diagnostics import KEYS, DiagnosticsPublisher, NodeStatus, diagnose
from fcn_road_seg.ros.frame_statistics import PUBLISHED, WINDOW_S, FrameStatistics
from test.helpers.counted_frames import PERIOD_S, ManualClock, run_camera

NAME = '/fcn_road_seg'
ACTIVE = NodeStatus(NAME, 'active')
OK, WARN = DiagnosticStatus.OK, DiagnosticStatus.WARN
ERROR, STALE = DiagnosticStatus.ERROR, DiagnosticStatus.STALE


def active(**fields):
    return NodeStatus(NAME, 'active', **fields)


def level_and_message(statistics, status=ACTIVE):
    diagnosis = diagnose(statistics, status)
    return diagnosis.level, diagnosis.message


def values(statistics, status=ACTIVE):
    return {v.key: v.value for v in diagnose(statistics, status).values}


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
        'frames lost',
        'frames waiting',
        'frames without usable stamp',
        'frames without ground',
        'ground problem',
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
        'precision reason',
        'backend',
        'GPU memory (MiB)',
        'checkpoint',
        'published mask',
        'published overlay',
        'published confidence',
        'published road_probability',
        'published class_mask',
        'published mask/compressed',
        'published overlay/compressed',
        'published grid',
        'published points',
        'published corridor',
        'published corridor/edges',
        'published camera_info',
    )


def test_reference_explains_every_key():
    text = (Path(__file__).parents[2] / 'docs' / 'node.md').read_text()
    assert [key for key in KEYS if f'`{key}`' not in text] == []


def test_values_of_a_node_not_configured_are_every_key_and_no_numbers_made_up(statistics):
    found = values(statistics, NodeStatus(NAME, 'unconfigured'))
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
        'precision reason',
        'backend',
        'GPU memory (MiB)',
        'checkpoint',
    }
    reasons = ('last error', 'incompatible QoS', 'ground problem')
    assert [found[key] for key in reasons] == ['none'] * 3


def test_status_of_the_node_is_shown_as_it_was_given(statistics):
    status = NodeStatus(
        name=NAME,
        state='active',
        enabled=False,
        input_topic='/camera/image_raw',
        input_reliability='best_effort',
        incompatible_qos='we ask for reliable, the camera offers best effort',
        frames_waiting=3,
        device='cuda:0 (H200)',
        precision='float16',
        precision_reason='requested explicitly',
        backend='torch 2.15.0',
        gpu_memory_mib=511.6,
        checkpoint_sha256='0123456789abcdef' * 4,
    )
    diagnosis = diagnose(statistics, status)
    assert diagnosis.name == '/fcn_road_seg: segmentation'
    assert diagnosis.hardware_id == 'cuda:0 (H200)'
    found = {v.key: v.value for v in diagnosis.values}
    assert found['state'] == 'active'
    assert found['enabled'] == 'false'
    assert found['input topic'] == '/camera/image_raw'
    assert found['input reliability'] == 'best_effort'
    assert found['incompatible QoS'] == 'we ask for reliable, the camera offers best effort'
    assert found['frames waiting'] == '3'
    assert found['device'] == 'cuda:0 (H200)'
    assert found['precision'] == 'float16'
    assert found['precision reason'] == 'requested explicitly'
    assert found['backend'] == 'torch 2.15.0'
    assert found['GPU memory (MiB)'] == '512'
    assert found['checkpoint'] == '0123456789ab'


def test_rates_are_shown_with_one_decimal(statistics, clock):
    run_camera(statistics, clock, 2, ('segmented', 'dropped'))
    found = values(statistics)
    assert (found['input rate (Hz)'], found['output rate (Hz)']) == ('7.5', '3.5')


def test_percentiles_are_shown_with_two_decimals(statistics):
    statistics.count_segmented(0.1, 0.05, 0.0041)
    found = values(statistics)
    assert [found[f'latency p{p} (ms)'] for p in (50, 95, 99)] == ['100.00'] * 3
    assert [found[f'inference p{p} (ms)'] for p in (50, 95, 99)] == ['50.00'] * 3
    assert [found[f'overhead p{p} (ms)'] for p in (50, 95, 99)] == ['4.10'] * 3


def test_counts_are_shown_as_they_were_counted(statistics, clock):
    run_camera(statistics, clock, 3, ('segmented', 'segmented', 'dropped', 'too_old', 'ignored'))
    statistics.count_segmented(None, 0.05)
    statistics.count_published('overlay')
    found = values(statistics)
    totals = statistics.snapshot().totals
    assert {name: found[f'frames {name}'] for name in totals} == {
        name: str(count) for name, count in totals.items()
    }
    assert found['frames without usable stamp'] == '1'
    assert (found['published mask'], found['published overlay']) == ('0', '1')


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'finalized'])
def test_node_that_is_not_active_is_ok_whatever_went_before(statistics, clock, state):
    run_camera(statistics, clock, 3, ('refused',))
    clock.s += 100
    assert level_and_message(statistics, NodeStatus(NAME, state, enabled=False)) == (OK, state)


def test_disabled_node_is_ok_whatever_went_before(statistics, clock):
    run_camera(statistics, clock, 3, ('refused', 'dropped'))
    assert level_and_message(statistics, active(enabled=False)) == (OK, 'disabled')


def test_node_is_starting_in_the_first_second(statistics, clock):
    run_camera(statistics, clock, 0.875)
    assert level_and_message(statistics) == (OK, 'starting')


def test_healthy_node_tells_its_rate(statistics, clock):
    run_camera(statistics, clock, 12)
    statistics.count_received()
    assert level_and_message(statistics) == (OK, '8.0 Hz')


def test_refused_frames_are_an_error_with_their_share_and_the_last_reason(statistics, clock):
    # What is before the window, or was ignored, is none of the 20.
    run_camera(statistics, clock, 20, ('refused', 'dropped'))
    clock.s += WINDOW_S
    statistics.count_ignored()
    run_camera(statistics, clock, 2.5, ('segmented',) * 4 + ('refused',))
    assert level_and_message(statistics) == (ERROR, '4 of 20 frames refused: bad step')


def test_refused_frame_is_an_error_for_the_length_of_the_window(statistics, clock):
    run_camera(statistics, clock, PERIOD_S, ('refused',))
    run_camera(statistics, clock, WINDOW_S - 2 * PERIOD_S)
    assert level_and_message(statistics)[0] == ERROR
    run_camera(statistics, clock, PERIOD_S)
    assert level_and_message(statistics)[0] == OK


def test_last_error_is_shown_after_the_window_too(statistics, clock):
    run_camera(statistics, clock, PERIOD_S, ('refused',))
    run_camera(statistics, clock, WINDOW_S)
    assert values(statistics)['last error'] == 'bad step'


def test_refused_frames_come_before_all_other_complaints(statistics, clock):
    run_camera(statistics, clock, 2, ('dropped', 'refused'))
    clock.s += 5
    status = active(incompatible_qos='offered: best effort', max_image_age_s=0.01)
    assert level_and_message(statistics, status) == (ERROR, '8 of 16 frames refused: bad step')


def test_silence_is_stale_after_two_seconds(statistics, clock):
    run_camera(statistics, clock, 12)
    clock.s += 1.75
    assert level_and_message(statistics)[0] == OK
    clock.s += 0.125
    assert level_and_message(statistics) == (STALE, 'no frame for 2.0 s')
    clock.s += 3.25
    assert level_and_message(statistics) == (STALE, 'no frame for 5.2 s')


def test_silence_ends_with_the_next_frame(statistics, clock):
    run_camera(statistics, clock, 12)
    clock.s += 5
    statistics.count_received()
    assert level_and_message(statistics)[0] == OK


def test_node_without_a_first_frame_is_stale_after_two_seconds(statistics, clock):
    clock.s += 1.875
    assert level_and_message(statistics) == (OK, 'starting')
    clock.s += 0.125
    assert level_and_message(statistics) == (STALE, 'no frame yet')


def test_silence_is_told_with_what_to_change(statistics, clock):
    clock.s += 2
    hint = 'set image_transport to compressed'
    assert level_and_message(statistics, active(input_hint=hint)) == (
        STALE,
        f'no frame yet: {hint}',
    )


def test_frames_that_arrive_while_others_wait_are_input_enough(statistics, clock):
    # A network that takes long: no frame ends, but the camera is not silent.
    for _ in range(24):
        statistics.count_received()
        clock.s += PERIOD_S
    assert level_and_message(statistics)[0] == OK


def test_activation_forgets_the_complaints_from_before(statistics, clock):
    run_camera(statistics, clock, 3, ('refused', 'dropped', 'segmented'))
    clock.s += 5
    statistics.resume()
    assert level_and_message(statistics) == (OK, 'starting')


def test_activation_gives_the_camera_two_seconds(statistics, clock):
    run_camera(statistics, clock, 3)
    statistics.resume()
    clock.s += 1.875
    assert level_and_message(statistics) == (OK, 'starting')
    clock.s += 0.125
    assert level_and_message(statistics) == (STALE, 'no frame yet')


def test_rate_after_an_activation_is_that_of_the_frames_since(statistics, clock):
    run_camera(statistics, clock, 3, ('refused', 'dropped', 'segmented'))
    statistics.resume()
    clock.s += 2
    run_camera(statistics, clock, 2)
    statistics.count_received()
    assert level_and_message(statistics) == (OK, '8.0 Hz')


def test_incompatible_qos_is_a_warning_as_long_as_no_frame_comes(statistics, clock):
    text = 'input asks for reliable, /camera offers best effort'
    assert level_and_message(statistics, active(incompatible_qos=text)) == (WARN, text)
    clock.s += 60
    assert level_and_message(statistics, active(incompatible_qos=text)) == (WARN, text)


def test_incompatible_qos_is_no_warning_while_frames_come_from_another_publisher(
    statistics, clock
):
    text = 'input asks for reliable, /camera offers best effort'
    run_camera(statistics, clock, 2)
    statistics.count_received()
    assert level_and_message(statistics, active(incompatible_qos=text)) == (OK, '8.0 Hz')
    clock.s += 2
    assert level_and_message(statistics, active(incompatible_qos=text)) == (WARN, text)


def test_dropped_frames_are_a_warning_with_both_rates_and_the_share(statistics, clock):
    run_camera(statistics, clock, 24, ('segmented', 'dropped', 'dropped'))
    statistics.count_received()
    assert level_and_message(statistics) == (
        WARN,
        'input 8.0 Hz, output 2.6 Hz: 67 % dropped for newer frames',
    )


def test_frames_dropped_and_too_old_are_told_apart(statistics, clock):
    run_camera(statistics, clock, 24, ('segmented', 'dropped', 'too_old', 'too_old'))
    statistics.count_received()
    assert level_and_message(statistics) == (
        WARN,
        'input 8.0 Hz, output 1.9 Hz: '
        '25 % dropped for newer frames, 50 % older than max_image_age',
    )


def test_frames_that_did_not_arrive_are_a_warning_with_their_share(statistics, clock):
    run_camera(statistics, clock, 12)
    statistics.count_received()
    statistics.count_lost(20)
    assert level_and_message(statistics) == (
        WARN,
        'input 8.0 Hz, output 7.9 Hz: 20 % lost in transit',
    )
    assert values(statistics)['frames lost'] == '20'


def test_ground_that_is_unknown_is_a_warning_with_its_reason(statistics, clock):
    run_camera(statistics, clock, 12)
    statistics.count_received()
    status = active(ground_problem='no camera_info has arrived')
    assert level_and_message(statistics, status) == (
        WARN,
        'input 8.0 Hz, output 7.9 Hz: no grid, points or corridor: no camera_info has arrived',
    )
    assert values(statistics, status)['ground problem'] == 'no camera_info has arrived'


def test_one_dropped_frame_is_not_zero_percent(statistics, clock):
    run_camera(statistics, clock, 2)
    statistics.count_dropped()
    for _ in range(183):
        statistics.count_segmented(0.1, 0.1)
    assert level_and_message(statistics)[1].endswith(': under 1 % dropped for newer frames')


def test_one_frame_that_came_through_is_not_a_hundred_percent_dropped(statistics, clock):
    run_camera(statistics, clock, 2)
    statistics.count_dropped(10**5)
    assert level_and_message(statistics)[1].endswith(': 99 % dropped for newer frames')


def test_drops_are_forgotten_after_the_window(statistics, clock):
    run_camera(statistics, clock, 2, ('dropped', 'too_old'))
    run_camera(statistics, clock, WINDOW_S)
    assert level_and_message(statistics)[0] == OK


def test_latency_above_max_image_age_is_late(statistics, clock):
    run_camera(statistics, clock, 12)
    statistics.count_received()
    assert level_and_message(statistics, active(max_image_age_s=0.2)) == (
        WARN,
        'input 8.0 Hz, output 7.9 Hz: late: latency p95 250 ms, max_image_age 200 ms',
    )


@pytest.mark.parametrize('max_image_age_s', [0.0, 0.25])
def test_latency_up_to_max_image_age_or_without_one_is_not_late(
    statistics, clock, max_image_age_s
):
    run_camera(statistics, clock, 12)
    statistics.count_received()
    assert level_and_message(statistics, active(max_image_age_s=max_image_age_s))[0] == OK


def test_few_latencies_above_max_image_age_are_not_late(statistics, clock):
    for latency_s in [0.1] * 19 + [0.5]:
        statistics.count_received()
        statistics.count_segmented(latency_s, 0.01)
    clock.s += 1
    assert level_and_message(statistics, active(max_image_age_s=0.2))[0] == OK
    statistics.count_segmented(0.5, 0.01)
    assert level_and_message(statistics, active(max_image_age_s=0.2))[0] == WARN


def test_frames_of_another_clock_are_never_late(statistics, clock):
    for _ in range(8):
        statistics.count_received()
        statistics.count_segmented(1.7e9, 0.01)
        clock.s += PERIOD_S
    assert level_and_message(statistics, active(max_image_age_s=0.2)) == (OK, '7.0 Hz')


def test_diagnosis_with_foreign_characters_comes_through_the_middleware(statistics, clock):
    run_camera(statistics, clock, 4, ('segmented', 'refused'))
    statistics.count_refused('Größe \ud800 fits not')
    diagnosis = diagnose(statistics, ACTIVE)
    back = deserialize_message(serialize_message(diagnosis), DiagnosticStatus)
    assert back == diagnosis
    assert back.message == '17 of 33 frames refused: Größe fits not'


def test_publisher_sends_the_diagnosis_under_the_time_of_its_node(statistics):
    context = rclpy.Context()
    context.init()
    node = rclpy.create_node('car', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    arrays = []
    node.create_subscription(DiagnosticArray, '/diagnostics', arrays.append, 10)
    DiagnosticsPublisher(node, statistics, lambda: active(device='cpu'))
    deadline_s = time.monotonic() + 30
    while not arrays and time.monotonic() < deadline_s:
        executor.spin_once(timeout_sec=0.1)
    now_s = node.get_clock().now().nanoseconds / 1e9
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    assert arrays[0].status == [diagnose(statistics, active(device='cpu'))]
    assert now_s - 5 < arrays[0].header.stamp.sec <= now_s


EVENTS = st.one_of(
    st.tuples(st.just('wait'), st.floats(0, 30)),
    st.tuples(st.sampled_from(['count_received', 'count_too_old', 'count_ignored', 'resume'])),
    st.tuples(st.sampled_from(['count_dropped', 'count_lost']), st.integers(0, 10**6)),
    st.tuples(st.just('count_refused'), st.text(st.characters())),
    st.tuples(st.just('count_published'), st.sampled_from(PUBLISHED)),
    st.tuples(st.just('count_segmented'), st.none() | st.floats(), st.floats(0, 1e6)),
)
STATUSES = st.builds(
    NodeStatus,
    name=st.just(NAME),
    state=st.sampled_from(['active', 'active', 'inactive']),
    enabled=st.booleans(),
    incompatible_qos=st.sampled_from(['', 'offered: best effort']),
    frames_waiting=st.integers(0, 10**6),
    max_image_age_s=st.floats(0, 1e3),
    gpu_memory_mib=st.none() | st.floats(0, 1e6),
)


@given(st.lists(EVENTS, max_size=30), STATUSES)
def test_any_sequence_of_events_gives_a_message_that_can_be_sent(events, status):
    clock = ManualClock()
    statistics = FrameStatistics(clock)
    for name, *arguments in events:
        if name == 'wait':
            clock.s += arguments[0]
        else:
            getattr(statistics, name)(*arguments)
    diagnosis = diagnose(statistics, status)
    array = DiagnosticArray(status=[diagnosis])
    assert deserialize_message(serialize_message(array), DiagnosticArray) == array
    assert tuple(v.key for v in diagnosis.values) == KEYS
    assert diagnosis.message
    found = {v.key: v.value for v in diagnosis.values}
    for key in KEYS:
        if found[key] != 'n/a' and key.endswith((')', 'received', 'dropped', 'usable stamp')):
            assert 0 <= float(found[key]) < float('inf')
