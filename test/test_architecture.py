"""Who may import whom: data flows one way, and network, ROS and file formats do not mix."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'fcn_road_seg'
OWN = 'fcn_road_seg'

# Each wing, from the top down, and the wings that it may import besides itself.
WINGS = {
    'commands': {
        *('bags', 'bench', 'datasets', 'demo', 'evaluation', 'fleet', 'ground', 'inference'),
        *('live', 'messages', 'model', 'ros', 'synthetic', 'training', 'utils', 'viz'),
    },
    'fleet': {'bags', 'inference', 'utils'},
    'demo': {'bags', 'datasets', 'ground', 'live', 'messages', 'synthetic', 'utils', 'viz'},
    'bench': {'ground', 'inference', 'live', 'model', 'synthetic', 'utils', 'viz'},
    'bags': {'datasets', 'ground', 'inference', 'messages', 'utils'},
    'evaluation': {'datasets', 'ground', 'inference', 'synthetic', 'utils', 'viz'},
    # Never inference: trainer and node meet in the model alone.
    'training': {'datasets', 'model', 'synthetic', 'utils', 'viz'},
    'ros': {'ground', 'inference', 'messages', 'model', 'utils'},
    # Starts the node as a process.
    'live': {'messages', 'utils'},
    'inference': {'model', 'utils'},
    'viz': {'datasets', 'utils'},
    'model': {'utils'},
    'datasets': {'synthetic', 'utils'},
    'messages': {'ground', 'utils'},
    'ground': set(),
    'synthetic': set(),
    'utils': set(),
}

# The wings in which a library may be imported; numpy, the standard library and cv2 are free.
HOMES = {
    'argcomplete': set(),
    'bondpy': {'ros'},
    'cv_bridge': {'messages'},
    'h5py': {'training'},
    'lightning': {'training'},
    'matplotlib': {'viz'},
    'mcap': {'bags'},
    'ncnn': {'inference'},
    'onnx': {'model'},
    'onnxruntime': {'model'},
    'onnxscript': {'model'},
    'openvino': {'inference'},
    'PIL': {'datasets', 'utils'},
    'psutil': {'bench', 'utils'},
    'ray': {'fleet'},
    'rclpy': {'ros', 'live', 'demo', 'commands'},
    'rosbags': {'bags'},
    # It comes with rosbags.
    'ruamel': {'bags'},
    'safetensors': {'model'},
    'torch': {'bench', 'evaluation', 'inference', 'model', 'synthetic', 'training'},
    'torchmetrics': {'training'},
    'tf2_ros': {'ros'},
    'torchvision': {'training'},
    'tqdm': {
        *('bags', 'bench', 'commands', 'datasets', 'demo', 'evaluation', 'fleet', 'live'),
        *('training',),
    },
    'vision_msgs': {'ros'},
    'yaml': {'ros'},
    # Messages of ROS 2.
    'builtin_interfaces': {'messages', 'ros'},
    'geometry_msgs': {'messages'},
    'visualization_msgs': {'messages', 'ros'},
    'diagnostic_msgs': {'ros', 'live'},
    'lifecycle_msgs': {'ros'},
    'nav_msgs': {'live', 'messages', 'ros'},
    'rcl_interfaces': {'ros'},
    'sensor_msgs': {'demo', 'live', 'messages', 'ros'},
    'std_msgs': {'demo', 'live', 'messages', 'ros'},
    'std_srvs': {'ros'},
}
FREE = {'numpy', 'cv2', *sys.stdlib_module_names}

MAY_SET_SIGNALS = {
    # Its children shall not hear the terminal's Ctrl-C: one handler is set while they start.
    'utils/child_process.py',
    # Lightning replaces the command's handler of SIGTERM by one that can wait forever.
    'training/callbacks.py',
}
MAX_FILE_LINES = 300
MAX_CLASS_LINES = 150

FILES = sorted(PACKAGE.rglob('*.py'))
MODULES = [path for path in FILES if path.parent != PACKAGE]
SCRIPTS = sorted((PACKAGE.parent / 'benchmarks').glob('*.py'))


def name_of(path):
    return str(path.relative_to(PACKAGE))


def wing_of(path):
    return path.relative_to(PACKAGE).parts[0]


def imports_of(path):
    """Return the dotted names that a file imports, anywhere in it, as 'package.module.name'."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{name_of(path)} has a relative import'
            found.update(f'{node.module}.{alias.name}' for alias in node.names)
    return found


def own_imports_of(path):
    return {name for name in imports_of(path) if name.startswith(f'{OWN}.')}


def test_table_has_every_wing():
    assert {wing_of(path) for path in MODULES} == set(WINGS)


def test_no_wing_imports_one_above_it():
    order = list(WINGS)
    for wing, below in WINGS.items():
        assert below <= set(order[order.index(wing) + 1 :]), wing


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_module_imports_only_the_wings_that_its_wing_may(path):
    wings = {name.split('.')[1] for name in own_imports_of(path)} - {'__version__'}
    assert wings <= WINGS[wing_of(path)] | {wing_of(path)}


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_module_imports_only_libraries_that_live_in_its_wing(path):
    libraries = {name.partition('.')[0] for name in imports_of(path)} - FREE - {OWN}
    assert {library for library in libraries if wing_of(path) not in HOMES[library]} == set()


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_private_names_stay_in_their_module(path):
    taken = {name for name in own_imports_of(path) if name.rpartition('.')[2].startswith('_')}
    assert taken <= {f'{OWN}.__version__'}


@pytest.mark.parametrize(
    'path', [path for path in MODULES if wing_of(path) != 'commands'], ids=name_of
)
def test_only_commands_parse_arguments_set_signals_and_exit(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    used = {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}
    # Lightning ends by SystemExit on Ctrl-C, and to catch it is no exit.
    raised = {
        ast.unparse(node.exc.func)
        for node in nodes
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    }
    assert not any(name.startswith('argparse') for name in imports_of(path))
    assert not used & {'sys.exit', 'os._exit', 'sys.argv'}
    assert 'SystemExit' not in raised
    assert 'signal.signal' not in used or name_of(path) in MAY_SET_SIGNALS


@pytest.mark.parametrize('wing', WINGS)
def test_importing_a_wing_imports_nothing_else(wing):
    imported = imports_of(PACKAGE / wing / '__init__.py')
    assert {name for name in imported if not name.startswith(f'{OWN}.{wing}.')} == set()


@pytest.mark.parametrize(
    'path', FILES + SCRIPTS, ids=lambda path: f'{path.parent.name}/{path.name}'
)
def test_files_and_classes_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < MAX_CLASS_LINES, node.name


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_every_file_says_what_it_is_for(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ''
    assert docstring.partition('\n\n')[0].endswith('.')


# The help of the others may take as long as PyTorch's import.
WITHOUT_TORCH = (
    'bench',
    'calibrate',
    'demo',
    'evaluate',
    'export',
    'export_labels',
    'kitti_to_bag',
    'segment',
    'segment_bag',
    'train',
)


@pytest.mark.parametrize('module', ['ros.node', *(f'commands.{name}' for name in WITHOUT_TORCH)])
def test_node_and_commands_are_imported_without_torch(module):
    if module == 'ros.node':
        pytest.importorskip('rclpy')
    code = f'import sys, fcn_road_seg.{module}; print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'False\n', done.stderr
