import pytest

from fcn_road_seg.ros.lost_frames import LostFrames


def lost_before_each(*numbers, publisher_count=1):
    frames = LostFrames()
    infos = ({'publication_sequence_number': number} for number in numbers)
    return [frames.count(info, publisher_count) for info in infos]


def test_gap_between_two_numbers_is_what_was_lost():
    assert lost_before_each(7, 8, 12, 13) == [0, 0, 3, 0]


def test_camera_that_starts_again_has_lost_nothing():
    assert lost_before_each(900, 1, 2, 4) == [0, 0, 0, 1]
    assert lost_before_each(1, 1, 3) == [0, 0, 1]


@pytest.mark.parametrize('info', [{}, {'publication_sequence_number': None}])
def test_nothing_is_known_without_numbers(info):
    frames = LostFrames()
    assert [frames.count(info, 1) for _ in range(2)] == [0, 0]


def test_numbers_of_several_publishers_are_not_compared():
    assert lost_before_each(1, 900, 2, publisher_count=2) == [0, 0, 0]


def test_counting_begins_with_the_message_after_another_publisher_has_gone():
    frames = LostFrames()
    counts = [
        frames.count({'publication_sequence_number': number}, publisher_count)
        for number, publisher_count in ((5, 1), (2, 2), (9, 1), (11, 1))
    ]
    assert counts == [0, 0, 0, 1]


@pytest.mark.parametrize('publisher_counts', [(1, 2, 2, 1, 1, 1), (1, 1, 1, 1, 1, 1)])
def test_last_message_of_a_publisher_that_is_gone_is_no_gap_of_the_other_one(publisher_counts):
    frames = LostFrames()
    numbers = (1000, 1, 1001, 2, 1002, 1004)
    counts = [
        frames.count({'publication_sequence_number': number}, publisher_count)
        for number, publisher_count in zip(numbers, publisher_counts, strict=True)
    ]
    assert counts == [0, 0, 0, 0, 0, 1]
    # However many came between the two.
    assert lost_before_each(1000, *range(1, 10), 1001) == [0] * 11
