import os
import signal
import time

import pytest

from fcn_road_seg.utils.child_process import child_process


def answer(word, link):
    link.send((word, os.getpid()))
    link.recv()


def die(link):
    link.recv()
    os._exit(3)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_process_answers_over_its_link_and_ends_with_the_block():
    with child_process(answer, 'here') as link:
        word, pid = link.recv()
        assert word == 'here'
        assert pid != os.getpid()
        assert is_alive(pid)
    assert not is_alive(pid)


def test_process_ends_when_the_block_fails():
    pids = []

    def failing():
        with child_process(answer, 'here') as link:
            pids.append(link.recv()[1])
            raise ValueError('mine')

    with pytest.raises(ValueError, match='mine'):
        failing()
    (pid,) = pids
    assert not is_alive(pid)


def test_end_of_the_process_ends_its_link():
    with child_process(die) as link:
        link.send('now')
        assert link.poll(60)
        with pytest.raises(EOFError):
            link.recv()


def test_process_ignores_ctrl_c_and_leaves_its_parents_handler():
    handler = signal.getsignal(signal.SIGINT)
    with child_process(answer, 'here') as link:
        assert signal.getsignal(signal.SIGINT) is handler
        _, pid = link.recv()
        os.kill(pid, signal.SIGINT)
        time.sleep(0.2)
        assert not link.poll()
        assert is_alive(pid)
