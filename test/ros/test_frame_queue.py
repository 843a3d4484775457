import threading

from fcn_road_seg.ros.frame_queue import FrameQueue


def test_newest_item_replaces_the_one_before_and_is_counted():
    queue = FrameQueue()
    for item in ('a', 'b', 'c'):
        queue.put(item)
    assert queue.take() == 'c'
    assert queue.take_dropped() == 2


def test_item_taken_in_time_is_not_counted():
    queue = FrameQueue()
    queue.put('a')
    assert queue.take() == 'a'
    queue.put('b')
    assert queue.take() == 'b'
    assert queue.take_dropped() == 0


def test_close_wakes_a_waiting_taker_with_none():
    queue = FrameQueue()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.close()
    thread.join(timeout=5)
    assert taken == [None]


def test_items_left_at_or_after_close_count_as_dropped():
    queue = FrameQueue()
    queue.put('a')
    queue.close()
    queue.put('b')
    assert queue.take() is None
    assert queue.take_dropped() == 2


def test_every_item_is_either_taken_in_order_or_counted():
    queue = FrameQueue()
    taken = []

    def take_all():
        while (item := queue.take()) is not None:
            taken.append(item)

    thread = threading.Thread(target=take_all)
    thread.start()
    for item in range(1, 2001):
        queue.put(item)
    while len(queue):
        pass
    queue.close()
    thread.join(timeout=5)
    assert taken == sorted(set(taken))
    assert taken[-1] == 2000
    assert len(taken) + queue.take_dropped() == 2000


def test_queue_that_keeps_all_gives_every_item_in_order():
    queue = FrameQueue(keep_all=True)
    for item in range(100):
        queue.put(item)
    assert len(queue) == 100
    assert [queue.take() for _ in range(100)] == list(range(100))
    assert queue.take_dropped() == 0


def test_dropped_items_are_told_once():
    queue = FrameQueue()
    queue.put('a')
    queue.put('b')
    assert queue.take_dropped() == 1
    assert queue.take_dropped() == 0
