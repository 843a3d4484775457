import json
import os
import subprocess
import sys

import pytest

MODULE = 'fcn_road_seg.inference.backends.openvino_import'
pytest.importorskip(MODULE, reason='openvino is not installed')

# Printed is what would reach the network: a look-up, a connection, or a process that does it.
WATCHED = """
import json, sys
seen = []
events = {'os.fork', 'os.posix_spawn', 'subprocess.Popen', 'socket.connect', 'socket.getaddrinfo'}
sys.addaudithook(lambda event, _: event in events and seen.append(event))
IMPORT
print(json.dumps([seen, [name for name in sys.modules if name.startswith('openvino_telemetry')]]))
"""


def seen_at(statement, home):
    # Where CI is set it reports nothing anyway; and what it keeps lies in the user's home.
    env = {k: v for k, v in os.environ.items() if k != 'CI'} | {'HOME': str(home)}
    code = WATCHED.replace('IMPORT', statement)
    done = subprocess.run(
        [sys.executable, '-c', code], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_nothing_is_sent_and_nothing_left_in_the_users_home(tmp_path):
    statement = f'from {MODULE} import openvino; openvino.Core()'
    assert seen_at(statement, tmp_path) == [[], []]
    assert list(tmp_path.iterdir()) == []


def test_who_imports_the_reporter_himself_still_can(tmp_path):
    pytest.importorskip('openvino_telemetry', reason='the reporter is not installed')
    statement = f'import {MODULE}, openvino_telemetry'
    events, modules = seen_at(statement, tmp_path)
    assert events == []
    assert 'openvino_telemetry' in modules


def test_converter_is_not_loaded():
    code = f'import sys, {MODULE}; print("openvino.tools.ovc" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr


def test_who_imports_the_converter_himself_still_can():
    code = f'import {MODULE}; from openvino.tools.ovc import convert_model; print(convert_model)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.startswith('<function convert_model'), done.stderr
