import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile

from fcn_road_seg.ros.model_loader import POLL_S
from fcn_road_seg.ros.parameters import PARAMETERS
from test.helpers.peer import Peer

FRAME = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
# At this size, the default network takes about a second a frame on a CPU.
LARGE = ('-p', 'input_height:=352', '-p', 'input_width:=1216')


@pytest.fixture
def rosout():
    """A peer in whose `rosout` is the level and text of each line of /front/seg."""
    peer = Peer(topics=())
    peer.rosout = []
    peer.node.create_subscription(
        Log,
        '/rosout',
        lambda line: line.name == 'front.seg' and peer.rosout.append((line.level, line.msg)),
        QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),
    )
    yield peer
    peer.close()


# A byte in the Log of some distributions, a number in that of others.
FATAL = 50
FRONT = ('-r', '__ns:=/front', '-r', '__node:=seg')


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_signal_in_mid_inference_ends_it_with_status_0_within_2_s(connected, signal_number):
    node, peer = connected(*LARGE)
    for _ in range(3):
        peer.send(FRAME)
    peer.spin_for(0.1)
    start = time.monotonic()
    assert node.end(signal_number, timeout_s=10) == 0
    assert time.monotonic() - start < 2.0
    assert 'Traceback' not in node.log
    assert 'frames: ' in node.log


def test_signals_after_the_first_change_nothing(connected):
    # A shell sends them to all its group, and a launch file to its nodes besides.
    node, peer = connected(*LARGE)
    peer.send(FRAME)
    peer.spin_for(0.1)
    for signal_number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        node.process.send_signal(signal_number)
        time.sleep(0.1)
    assert node.wait(timeout_s=10) == 0
    assert 'Traceback' not in node.log


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_network_loads_ends_it_with_status_0(start_node, rosout, signal_number):
    node = start_node(*FRONT)
    rosout.spin_until(lambda: any('loading' in text for _, text in rosout.rosout))
    assert node.end(signal_number, timeout_s=10) == 0
    assert 'Traceback' not in node.log


def run_program(program):
    """Run a Python program; return its exit status, how long it took in s, and its output."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, timeout=60
    )
    return done.returncode, time.monotonic() - began_s, done.stdout + done.stderr


def test_signal_in_the_wait_for_a_loader_that_keeps_python_busy_ends_it():
    # CPython's SimpleQueue.get(timeout) then waits for ever.
    status, duration_s, log = run_program(f"""
import signal, threading, time
from fcn_road_seg.commands import segment
from fcn_road_seg.ros import model_loader

def load(*_):
    time.sleep({0.3 * POLL_S})
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
    sum(range(30_000_000))
    time.sleep(30)

model_loader.load_model = load
raise SystemExit(segment.main())
""")
    assert status == 0
    assert duration_s < 20
    assert 'Traceback' not in log


def test_executor_is_never_made_in_a_context_that_a_signal_has_shut_down():
    # Kilted's then prints a traceback of its destructor, where Jazzy's start has raised before.
    status, _, log = run_program("""
import os, signal, time
import rclpy
from fcn_road_seg.commands import segment

class Executor(segment.SingleThreadedExecutor):
    def __init__(self):
        print('context is valid:', rclpy.ok(), flush=True)
        super().__init__()

def start(node):
    os.kill(os.getpid(), signal.SIGTERM)
    while not node.is_ending:
        time.sleep(0.01)
    return False

segment.SingleThreadedExecutor, segment.SegmentNode.start = Executor, start
raise SystemExit(segment.main())
""")
    assert status == 0
    assert 'context is valid: False' not in log
    assert 'Traceback' not in log


def test_spinning_keeps_nothing_of_the_messages():
    # Jazzy's spin_until_future_complete adds a callback to the future for each of them.
    status, _, log = run_program("""
from itertools import count
from fcn_road_seg.commands import segment

def start(node):
    numbers = count()
    add, added = node.ending.add_done_callback, []
    node.ending.add_done_callback = lambda callback: (added.append(callback), add(callback))

    def tick():
        if next(numbers) == 100:
            print('callbacks added:', len(added), flush=True)
            node.ending.set_result(None)

    node.create_timer(0.001, tick)
    return True

segment.SegmentNode.start = start
raise SystemExit(segment.main())
""")
    assert status == 0, log
    assert 'callbacks added: 1\n' in log


def test_interpreter_looks_for_no_garbage_among_the_objects_of_pytorch_as_it_ends():
    # With them, the end of the process took a second of CPU time, on a busy machine seven.
    status, _, log = run_program("""
import atexit, gc
import torch
from fcn_road_seg.commands import segment

def signalled(node):
    node.ending.set_result(None)
    return True

segment._spin = signalled
atexit.register(lambda: print('still tracked:', len(gc.get_objects())))
raise SystemExit(segment.main())
""")
    assert status == 0, log
    assert int(log.partition('still tracked: ')[2].split()[0]) < 10_000


def test_interrupt_while_an_error_is_handled_ends_it_with_status_0():
    status, _, log = run_program("""
import rclpy
from fcn_road_seg.commands import segment

def context_is_gone(*_):
    raise RuntimeError('the context is invalid')

def interrupt():
    raise KeyboardInterrupt

segment.SegmentNode, rclpy.ok = context_is_gone, interrupt
raise SystemExit(segment.main())
""")
    assert status == 0
    assert 'Traceback' not in log


@pytest.mark.parametrize(
    ('ros_args', 'reason'),
    [
        (('--params-file', '/nowhere.yaml'), "params file: '--params-file /nowhere.yaml'"),
        (('-r', '__ns:=/front-cam'), "remap rule: '-r __ns:=/front-cam'"),
        (('--nonsense',), "['--nonsense']"),
        (('-p', 'checkpoint:=/nowhere.safetensors'), '/nowhere.safetensors does not exist'),
        (('-p', 'checkpoint:=~/nowhere.safetensors'), f'{Path.home()}/nowhere.safetensors does'),
        (('-p', 'device:=cuda:99'), "device 'cuda:99' does not exist"),
        (('-p', 'input_height:=100', '-p', 'input_width:=100'), 'in steps of 32'),
        (('-p', 'overlay_alpha:=1'), 'overlay_alpha must be a decimal number, 0.0 to 1.0'),
        (('-p', "use_sim_time:='true'"), "'use_sim_time' to 'true' of type 'STRING'"),
        pytest.param(
            ('-p', 'start_type_description_service:=no_thanks'),
            "'no_thanks' of type 'STRING'",
            marks=pytest.mark.skipif(
                find_spec('rclpy.type_description_service') is None,
                reason="Humble's rclpy has no such parameter",
            ),
        ),
        (('-p', 'qos_overrides./diagnostics.publisher.depth:=10.0'), "'10.0' of type 'DOUBLE'"),
        (('-p', 'qos_overrides./fcn_road_seg/mask.publisher.depth:=1.5'), "'1.5' of type"),
    ],
)
def test_node_that_cannot_start_says_why_in_one_line_and_fails(start_node, ros_args, reason):
    node = start_node(*ros_args)
    assert node.wait(timeout_s=30) == 1
    (line,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert reason in line
    assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('ros_args', 'reason'),
    [
        (('-p', 'threshold:=2.0'), 'threshold must be a decimal number'),
        (('-p', 'use_sim_time:=1'), "'use_sim_time' to '1' of type 'INTEGER'"),
        (('-p', 'checkpoint:=/nowhere.safetensors'), '/nowhere.safetensors does not exist'),
    ],
)
def test_reason_why_a_node_cannot_start_has_its_name_and_is_on_rosout(
    start_node, rosout, ros_args, reason
):
    node = start_node(*FRONT, *ros_args)
    rosout.spin_until(lambda: any(level == FATAL for level, _ in rosout.rosout))
    assert any(reason in text for _, text in rosout.rosout)
    assert node.wait(timeout_s=30) == 1
    (line,) = [line for line in node.log.splitlines() if 'FATAL' in line]
    assert '[front.seg]' in line


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_summary_at_the_end_has_the_name_of_the_node_and_is_on_rosout(
    start_node, rosout, random_checkpoint_path, signal_number
):
    node = start_node(*FRONT, '-p', f'checkpoint:={random_checkpoint_path}')
    rosout.spin_until(lambda: any('waiting for frames' in text for _, text in rosout.rosout))
    node.process.send_signal(signal_number)
    rosout.spin_until(lambda: any('frames: 0 received' in text for _, text in rosout.rosout))
    assert node.wait(timeout_s=10) == 0
    assert '[front.seg]: frames: 0 received' in node.log


def run_segment(*arguments):
    command = [sys.executable, '-m', 'fcn_road_seg', 'segment', *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_help_names_every_parameter_and_ends_with_status_0():
    done = run_segment('--help')
    assert done.returncode == 0
    epilog = ' '.join(done.stdout.partition('Parameters: ')[2].split())
    assert epilog == ', '.join(parameter.name for parameter in PARAMETERS) + '.'


def test_argument_that_ros_would_not_read_is_refused():
    done = run_segment('--device', 'cpu')
    assert done.returncode == 2
    assert 'unrecognized arguments: --device cpu' in done.stderr


@pytest.fixture
def peer():
    peer = Peer(topics=())
    peer.spin_for(0.5)
    yield peer
    peer.close()


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('transitions', [(), ('configure',)])
def test_signal_in_every_state_ends_it_with_status_0_within_2_s(
    start_node, peer, random_checkpoint_path, transitions, signal_number
):
    checkpoint = ('-p', f'checkpoint:={random_checkpoint_path}')
    node = start_node(*checkpoint, '-p', 'autostart:=false')
    assert peer.state() == 'unconfigured'
    for transition in transitions:
        assert peer.transition(transition)
    start = time.monotonic()
    assert node.end(signal_number, timeout_s=10) == 0
    assert time.monotonic() - start < 2.0
    assert 'Traceback' not in node.log


@pytest.mark.parametrize('signal_number', [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_no_shared_memory_behind(start_node, peer, signal_number):
    before = {str(path) for path in Path('/dev/shm').iterdir()}
    node = start_node('-p', 'autostart:=false')
    assert peer.state() == 'unconfigured'
    # Fast DDS names its segments by 16 digits, after fastrtps_ (version 2) or fastdds_ (3). Other
    # programs on this machine have some, too, and ports belong to the peer.
    mapped = Path(f'/proc/{node.process.pid}/maps').read_text()
    own = set(re.findall(r'/dev/shm/fast(?:rtps|dds)_[0-9a-f]{16}\b', mapped)) - before
    assert own
    assert node.end(signal_number, timeout_s=10) == 0
    assert [path for path in own if Path(path).exists()] == []


def test_shutdown_transition_in_mid_inference_ends_the_process(connected):
    node, peer = connected(*LARGE)
    peer.send(FRAME)
    peer.spin_for(0.1)
    start = time.monotonic()
    assert peer.transition('shutdown')
    assert node.wait(timeout_s=10) == 0
    assert time.monotonic() - start < 2.0
    assert 'Traceback' not in node.log


def test_signal_while_deactivate_waits_for_a_frame_ends_it_within_2_s(
    connected, random_checkpoint_path, tmp_path
):
    wish = tmp_path / 'take 8 s a frame'
    program = f"""
import pathlib, sys, time
from fcn_road_seg.commands.segment import main
from fcn_road_seg.inference.segmenter import RoadSegmenter

segment = RoadSegmenter.__call__

def slow(*arguments, **settings):
    while pathlib.Path({str(wish)!r}).exists():
        time.sleep(8)
    return segment(*arguments, **settings)

RoadSegmenter.__call__ = slow
raise SystemExit(main(sys.argv))
"""
    command = (sys.executable, '-c', program)
    node, peer = connected('-p', f'checkpoint:={random_checkpoint_path}', command=command)
    wish.touch()
    peer.send(FRAME)
    peer.spin_for(0.5)
    client = peer.node.create_client(ChangeState, 'fcn_road_seg/change_state')
    peer.spin_until(client.service_is_ready)
    transition = Transition(label='deactivate')
    answer = client.call_async(ChangeState.Request(transition=transition))
    peer.spin_for(1.0)
    assert not answer.done()
    start = time.monotonic()
    assert node.end(signal.SIGTERM, timeout_s=20) == 0
    assert time.monotonic() - start < 2.0


def test_context_shut_down_from_outside_ends_it_with_status_0(
    start_node, random_checkpoint_path, tmp_path
):
    wish = tmp_path / 'shut down'
    program = f"""
import pathlib, sys, threading, time, rclpy
from fcn_road_seg.commands.segment import main

def shut_down():
    while not pathlib.Path({str(wish)!r}).exists():
        time.sleep(0.05)
    rclpy.shutdown()

threading.Thread(target=shut_down, daemon=True).start()
raise SystemExit(main(sys.argv))
"""
    command = (sys.executable, '-c', program)
    node = start_node('-p', f'checkpoint:={random_checkpoint_path}', command=command)
    peer = Peer(topics=('mask',))
    peer.connect()
    peer.close()
    wish.touch()
    assert node.wait(timeout_s=30) == 0
    assert 'Traceback' not in node.log
