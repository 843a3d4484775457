import threading

from fcn_road_seg.ros.frame_queue import FrameQueue


def test_newest_item_replaces_the_one_before_and_is_counted():
    mailbox = FrameQueue()
    for item in ('a', 'b', 'c'):
        mailbox.put(item)
    assert mailbox.take() == 'c'
    assert mailbox.take_dropped() == 2


def test_item_taken_in_time_is_not_counted():
    mailbox = FrameQueue()
    mailbox.put('a')
    assert mailbox.take() == 'a'
    mailbox.put('b')
    assert mailbox.take() == 'b'
    assert mailbox.take_dropped() == 0


def test_close_wakes_a_waiting_taker_with_none():
    mailbox = FrameQueue()
    taken = []
    thread = threading.Thread(target=lambda: taken.append(mailbox.take()))
    thread.start()
    mailbox.close()
    thread.join(timeout=5)
    assert taken == [None]


def test_items_left_at_or_after_close_count_as_dropped():
    mailbox = FrameQueue()
    mailbox.put('a')
    mailbox.close()
    mailbox.put('b')
    assert mailbox.take() is None
    assert mailbox.take_dropped() == 2


def test_every_item_is_either_taken_in_order_or_counted():
    mailbox = FrameQueue()
    taken = []

    def take_all():
        while (item := mailbox.take()) is not None:
            taken.append(item)

    thread = threading.Thread(target=take_all)
    thread.start()
    for item in range(1, 2001):
        mailbox.put(item)
    while len(mailbox):
        pass
    mailbox.close()
    thread.join(timeout=5)
    assert taken == sorted(set(taken))
    assert taken[-1] == 2000
    assert len(taken) + mailbox.take_dropped() == 2000


def test_mailbox_that_keeps_all_gives_every_item_in_order():
    mailbox = FrameQueue(keep_all=True)
    for item in range(100):
        mailbox.put(item)
    assert len(mailbox) == 100
    assert [mailbox.take() for _ in range(100)] == list(range(100))
    assert mailbox.take_dropped() == 0


def test_dropped_items_are_told_once():
    mailbox = FrameQueue()
    mailbox.put('a')
    mailbox.put('b')
    assert mailbox.take_dropped() == 1
    assert mailbox.take_dropped() == 0
