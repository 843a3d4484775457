import itertools
import time

from fcn_road_seg.bench.timing import MIN_ROUNDS, Spread, interleave


def test_spread_is_minimum_median_and_quartiles():
    assert Spread.of([5, 1, 4, 2, 3], scale=10) == Spread(10, 20, 30, 40)


def test_spread_of_one_value_is_that_value():
    assert Spread.of([7]) == Spread(7, 7, 7, 7)


def test_spread_is_rounded_for_the_report():
    assert Spread(0, 1 / 3, 0.5, 2 / 3).as_dict(2) == {
        'least': 0,
        'q1': 0.33,
        'median': 0.5,
        'q3': 0.67,
    }


class Recorder:
    """Samples that note when they are called."""

    def __init__(self, names, seconds=0.0):
        self.calls = []
        self._seconds = seconds
        self.samples = [lambda name=name: self._sample(name) for name in names]

    def _sample(self, name):
        self.calls.append(name)
        time.sleep(self._seconds)
        return {name: len(self.calls)}


def test_rounds_take_every_sample_in_turn_and_there_and_back():
    recorder = Recorder('abc')
    taken = interleave(recorder.samples, rounds=3, budget_s=60)
    assert ''.join(recorder.calls) == 'abc' + 'abc' + 'cba' + 'abc'
    # The first three calls warm up.
    assert taken == {'a': [4, 9, 10], 'b': [5, 8, 11], 'c': [6, 7, 12]}


def test_every_sample_comes_after_a_pause():
    began_s = []

    def sample():
        began_s.append(time.monotonic())
        return {'a': 1}

    interleave([sample, sample], rounds=2, budget_s=60, pause_s=0.03)
    assert len(began_s) == 6
    assert min(b - a for a, b in itertools.pairwise(began_s)) >= 0.03


def test_a_sample_may_measure_several_things():
    taken = interleave([lambda: {'whole': 3, 'part': 1}], rounds=2, budget_s=60)
    assert taken == {'whole': [3, 3], 'part': [1, 1]}


def test_rounds_end_with_the_budget(monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now_s[0])

    def sample():
        now_s[0] += 0.125
        return {'a': 1}

    assert len(interleave([sample], rounds=1000, budget_s=1.0)['a']) == 8


def test_budget_too_small_gives_the_least_number_of_rounds():
    slow = Recorder('a', seconds=0.01)
    assert len(interleave(slow.samples, rounds=1000, budget_s=1e-9)['a']) == MIN_ROUNDS


def test_no_more_rounds_are_taken_than_were_asked_for():
    slow = Recorder('a', seconds=0.01)
    assert len(interleave(slow.samples, rounds=2, budget_s=1e-9)['a']) == 2
