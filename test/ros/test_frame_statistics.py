import itertools
import threading
import time

import pytest

from fcn_road_seg.ros.frame_statistics import PUBLISHED, WINDOW_S, FrameStatistics
from test.helpers.counted_frames import PERIOD_S, run_camera


def test_rates_are_right_two_seconds_after_the_first_frame(statistics, clock):
    clock.s += 100
    run_camera(statistics, clock, 2, ('segmented', 'dropped'))
    # The frame of this instant is still to come.
    assert statistics.snapshot().input_hz == 7.5
    statistics.count_received()
    assert statistics.snapshot().input_hz == 8.0
    assert statistics.snapshot().output_hz == 3.5


def test_output_rate_leaves_out_the_first_output(statistics, clock):
    # The first frame is segmented a second after it came, and then one each period.
    statistics.count_received()
    clock.s += 1.0
    for _ in range(17):
        statistics.count_segmented(0.25, 0.125)
        clock.s += PERIOD_S
    assert statistics.snapshot().output_hz == 16 / (17 * PERIOD_S)


def test_output_rate_is_zero_if_all_frames_are_dropped(statistics, clock):
    run_camera(statistics, clock, 2, ('dropped',))
    assert statistics.snapshot().output_hz == 0.0


def test_rates_are_not_known_in_the_first_second(statistics, clock):
    run_camera(statistics, clock, 0.875)
    assert statistics.snapshot().input_hz is None
    clock.s += 0.125
    assert statistics.snapshot().input_hz == 6.0


def test_rates_are_those_of_the_last_ten_seconds(statistics, clock):
    run_camera(statistics, clock, 30)
    for _ in range(5):  # Half the rate, for half of the window.
        statistics.count_received()
        clock.s += 1.0
    # 5 frames of the last 5 s, and the 39 of the 5 s before whose age is below 10 s.
    assert statistics.snapshot().input_hz == 4.4
    assert statistics.snapshot().output_hz == 3.9


def test_rate_is_zero_after_a_window_without_frames(statistics, clock):
    run_camera(statistics, clock, 5)
    clock.s += WINDOW_S
    assert statistics.snapshot().input_hz == 0.0


def test_totals_count_from_the_start(statistics, clock):
    outcomes = ('segmented', 'segmented', 'dropped', 'refused', 'too_old', 'ignored')
    run_camera(statistics, clock, 4, outcomes)
    clock.s += 2 * WINDOW_S
    statistics.count_dropped(7)
    statistics.count_lost(2)
    statistics.count_dropped(0)
    statistics.resume()
    assert statistics.snapshot().totals == {
        'received': 32,
        'segmented': 12,
        'dropped': 12,
        'too old': 5,
        'refused': 5,
        'ignored': 5,
        'lost': 2,
    }


def test_recent_counts_are_those_of_the_window(statistics, clock):
    run_camera(statistics, clock, 4, ('segmented', 'refused'))
    clock.s += WINDOW_S
    statistics.count_dropped(3)
    recent = statistics.snapshot().recent
    assert recent == {
        'received': 0,
        'segmented': 0,
        'dropped': 3,
        'too old': 0,
        'refused': 0,
        'ignored': 0,
        'lost': 0,
    }


def test_published_messages_count_from_the_start(statistics, clock):
    for output in ('mask', 'mask', 'overlay/compressed'):
        statistics.count_published(output)
    clock.s += 2 * WINDOW_S
    statistics.resume()
    published = [statistics.snapshot().published[output] for output in PUBLISHED]
    assert published == [2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_output_that_the_node_does_not_have_is_an_error(statistics):
    with pytest.raises(KeyError, match='masks'):
        statistics.count_published('masks')


def test_percentiles_are_durations_that_were_measured(statistics):
    # 1 .. 200 ms in a mixed order: the 100th, 190th and 198th of them.
    for i in range(200):
        n = i * 77 % 200 + 1
        statistics.count_segmented(n / 1e3, n / 1e4)
    snapshot = statistics.snapshot()
    assert snapshot.latency_ms == pytest.approx({50: 100.0, 95: 190.0, 99: 198.0})
    assert snapshot.inference_ms == pytest.approx({50: 10.0, 95: 19.0, 99: 19.8})


def test_overhead_is_unknown_without_the_time_of_the_network(statistics):
    statistics.count_segmented(0.5, 0.4)
    assert statistics.snapshot().overhead_ms == {50: None, 95: None, 99: None}


def test_overhead_is_measured_with_the_time_of_the_network(statistics):
    statistics.count_segmented(0.5, 0.4)
    for overhead_s in (0.004, 0.006, 0.005):
        statistics.count_segmented(0.5, 0.4, overhead_s)
    assert statistics.snapshot().overhead_ms == pytest.approx({50: 5.0, 95: 6.0, 99: 6.0})


def test_percentiles_of_one_frame_are_its_own(statistics):
    statistics.count_segmented(0.03, 0.01)
    assert statistics.snapshot().latency_ms == pytest.approx({50: 30.0, 95: 30.0, 99: 30.0})


def test_percentiles_of_few_frames_are_among_them(statistics):
    for latency_s in (0.03, 0.01, 0.02):
        statistics.count_segmented(latency_s, 0.01)
    assert statistics.snapshot().latency_ms == pytest.approx({50: 20.0, 95: 30.0, 99: 30.0})


def test_percentiles_forget_what_is_older_than_the_window(statistics, clock):
    statistics.count_segmented(5.0, 4.0)
    clock.s += WINDOW_S - PERIOD_S
    statistics.count_segmented(0.1, 0.05)
    assert statistics.snapshot().latency_ms[99] == 5000.0
    clock.s += PERIOD_S
    assert statistics.snapshot().latency_ms[99] == 100.0
    assert statistics.snapshot().inference_ms[99] == 50.0
    clock.s += WINDOW_S
    assert statistics.snapshot().latency_ms[50] is None


@pytest.mark.parametrize(
    'latency_s', [None, -0.001, -5.0, 60.001, 1.7e9, float('nan'), float('inf'), float('-inf')]
)
def test_latency_between_two_clocks_is_counted_but_not_measured(statistics, latency_s):
    statistics.count_segmented(latency_s, 0.05)
    snapshot = statistics.snapshot()
    assert snapshot.totals['segmented'] == snapshot.without_stamp == 1
    assert snapshot.latency_ms[50] is None
    assert snapshot.inference_ms[50] == 50.0


def test_frame_with_a_usable_stamp_is_measured_after_one_without(statistics):
    statistics.count_segmented(None, 0.05)
    statistics.count_segmented(0.1, 0.05)
    assert statistics.snapshot().without_stamp == 1
    assert statistics.snapshot().latency_ms[99] == 100.0


@pytest.mark.parametrize(('latency_s', 'latency_ms'), [(0.0, 0.0), (60.0, 60_000.0)])
def test_latency_at_either_end_of_what_is_plausible_is_measured(statistics, latency_s, latency_ms):
    statistics.count_segmented(latency_s, 0.05)
    assert statistics.snapshot().without_stamp == 0
    assert statistics.snapshot().latency_ms[50] == latency_ms


def test_resume_clears_rates_and_percentiles(statistics, clock):
    run_camera(statistics, clock, 3)
    statistics.resume()
    snapshot = statistics.snapshot()
    assert (snapshot.input_hz, snapshot.output_hz) == (None, None)
    assert snapshot.latency_ms[50] is None
    assert snapshot.inference_ms[50] is None


def test_silence_is_measured_from_the_last_frame(statistics, clock):
    run_camera(statistics, clock, 1)
    clock.s += 3
    assert statistics.snapshot().has_input
    assert statistics.snapshot().silence_s == 3 + PERIOD_S


def test_silence_without_a_frame_is_measured_from_resume(statistics, clock):
    run_camera(statistics, clock, 1)
    statistics.resume()
    clock.s += 3
    assert not statistics.snapshot().has_input
    assert statistics.snapshot().silence_s == 3


def test_last_error_is_one_short_line_that_every_reader_can_take(statistics):
    statistics.count_refused(
        "encoding 'a\nb\0c\ud800d' \t is not\x1b supported; ü ok" + 'x' * 10**6
    )
    text = statistics.snapshot().last_error
    assert text.startswith("encoding 'a b c d' is not supported; ü okxxx")
    assert len(text) <= 200


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

    statistics = FrameStatistics(now_s)

    def executor():
        for _ in range(10_000):
            statistics.count_received()
            statistics.count_dropped()

    def worker():
        for _ in range(10_000):
            statistics.count_segmented(None, 0.01)
            statistics.count_dropped()
            statistics.count_published('mask')

    threads = [threading.Thread(target=run) for run in (executor, worker)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        statistics.snapshot()
        time.sleep(0.01)
    assert not together
    snapshot = statistics.snapshot()
    assert snapshot.totals['received'] == snapshot.totals['segmented'] == 10_000
    assert snapshot.without_stamp == snapshot.published['mask'] == 10_000
    assert snapshot.totals['dropped'] == 20_000


def test_memory_does_not_grow_where_nobody_asks_for_a_snapshot(statistics, clock):
    run_camera(statistics, clock, 1000)
    assert len(statistics._latencies_s._entries) == 80
    assert len(statistics._recent['received']._entries) == 80
