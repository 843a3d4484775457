"""Who may import whom: data flows one way, and network, ROS and files do not know each other."""

import ast
import sys
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'fcn_road_seg'
MESSAGES = {
    'builtin_interfaces',
    'diagnostic_msgs',
    'lifecycle_msgs',
    'rcl_interfaces',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
}
OWN = 'fcn_road_seg'

# Besides numpy and the standard library; "own" are modules of this package.
MAY_IMPORT = {
    'model': {'torch', 'torchvision'},
    'checkpoint': {'torch', 'safetensors', 'own.files', 'own.model'},
    'segmenter': {
        'torch',
        'cv2',
        'own.checkpoint',
        'own.cpu_pipeline',
        'own.cuda_pipeline',
        'own.devices',
        'own.model',
        'own.ncnn_network',
        'own.openvino_network',
        'own.segmentation',
        'own.torch_network',
    },
    'segmentation': set(),
    'cpu_pipeline': {'torch', 'cv2', 'own.segmentation'},
    'cuda_pipeline': {'torch', 'own.frame_program', 'own.model', 'own.segmentation'},
    'frame_program': {'torch', 'own.model', 'own.opencv_resize', 'own.segmentation'},
    'opencv_resize': {'torch'},
    'torch_network': {'torch', 'cv2', 'own.model'},
    'ncnn_network': {'ncnn', 'cv2', 'own.files', 'own.model', 'own.ncnn_graph'},
    'ncnn_graph': {'torch', 'own.model'},
    'openvino_network': {'own.model', 'own.openvino_graph', 'own.silent_openvino'},
    'openvino_graph': {'torch', 'own.model', 'own.silent_openvino'},
    'silent_openvino': {'openvino'},
    'activation_peaks': {'torch', 'own.checkpoint', 'own.cpu_pipeline', 'own.model'},
    'image_msgs': {'cv2', 'cv_bridge', *MESSAGES},
    'bags': {'rosbags'},
    'kitti_sequences': {'own.calibration'},
    'kitti_to_bag': {
        'tqdm',
        'own.bags',
        'own.compressed_msgs',
        'own.image_msgs',
        'own.kitti_sequences',
    },
    'segment_bag': {
        'tqdm',
        'own.bags',
        'own.checkpoint',
        'own.compressed_msgs',
        'own.image_msgs',
        'own.segmenter',
        'own.video',
    },
    'video': {'cv2', 'own.files', 'own.pictures'},
    'compressed_msgs': {'cv2', 'sensor_msgs', 'std_msgs', 'own.image_msgs'},
    'parameters': set(),
    'mailbox': set(),
    'diagnostics': {'diagnostic_msgs', 'builtin_interfaces'},
    'node': {
        'rclpy',
        *MESSAGES,
        'own.checkpoint',
        'own.compressed_msgs',
        'own.diagnostics',
        'own.image_input',
        'own.image_msgs',
        'own.mailbox',
        'own.outputs',
        'own.parameters',
        'own.segmenter',
    },
    'image_input': {'rclpy', *MESSAGES},
    'outputs': {'rclpy', *MESSAGES, 'vision_msgs', 'own.compressed_msgs', 'own.image_msgs'},
    'datasets': {'torch', 'cv2'},
    'augment': {'torch', 'torchvision', 'own.checkpoint', 'own.datasets'},
    'calibration': set(),
    'metrics': {'own.datasets'},
    'synthetic': {'cv2', 'own.synthetic'},
    'devices': set(),
    'files': set(),
    'pictures': {'cv2', 'own.datasets'},
    'plots': {'matplotlib', 'own.files'},
    'recipe': {'own.checkpoint'},
    'sources': {'torch', 'tqdm', 'own.datasets', 'own.synthetic'},
    'stress': {'torch', 'cv2', 'own.augment'},
    'training': {
        'torch',
        'lightning',
        'torchmetrics',
        'cv2',
        'own.augment',
        'own.datasets',
        'own.files',
        'own.model',
        'own.pictures',
        'own.plots',
        'own.recipe',
        'own.sources',
    },
    'train': {
        'torch',
        'lightning',
        'own.activation_peaks',
        'own.checkpoint',
        'own.devices',
        'own.model',
        'own.recipe',
        'own.sources',
        'own.training',
    },
    'evaluate': {
        'cv2',
        'tqdm',
        'own.calibration',
        'own.checkpoint',
        'own.datasets',
        'own.files',
        'own.metrics',
        'own.pictures',
        'own.plots',
        'own.segmenter',
        'own.sources',
        'own.stress',
    },
    'calibrate': {
        'torch',
        'tqdm',
        'own.activation_peaks',
        'own.checkpoint',
        'own.datasets',
        'own.model',
        'own.sources',
    },
    'export': {
        'torch',
        'onnx',
        'onnxruntime',
        'onnxscript',
        'own.checkpoint',
        'own.files',
        'own.model',
    },
    'demo': {
        'rclpy',
        *MESSAGES,
        'cv2',
        'tqdm',
        'own.datasets',
        'own.demo_sources',
        'own.helper_process',
        'own.image_msgs',
        'own.live_node',
        'own.pictures',
        'own.video',
    },
    'demo_sources': {
        'rclpy',
        *MESSAGES,
        'cv2',
        'tqdm',
        'own.bags',
        'own.compressed_msgs',
        'own.datasets',
        'own.image_msgs',
        'own.synthetic',
    },
    'classic': {'torch', 'own.model'},
    'contenders': {
        'torch',
        'own.checkpoint',
        'own.classic',
        'own.cpu_pipeline',
        'own.devices',
        'own.model',
        'own.ncnn_network',
        'own.openvino_network',
        'own.torch_network',
    },
    'machine': {'torch', 'cv2', 'own.devices'},
    'timing': {'tqdm'},
    'bench_networks': {
        'torch',
        'cv2',
        'tqdm',
        'own.bench_report',
        'own.checkpoint',
        'own.contenders',
        'own.helper_process',
        'own.machine',
        'own.model',
        'own.segmenter',
        'own.timing',
    },
    'bench_node': {
        'rclpy',
        *MESSAGES,
        'tqdm',
        'own.helper_process',
        'own.image_msgs',
        'own.live_node',
        'own.machine',
    },
    'live_node': {'rclpy', *MESSAGES},
    'helper_process': set(),
    'bench_report': {'own.contenders', 'own.machine', 'own.plots'},
    'bench': {
        'own.bench_networks',
        'own.bench_node',
        'own.bench_report',
        'own.checkpoint',
        'own.contenders',
        'own.files',
        'own.machine',
        'own.segmenter',
        'own.synthetic',
    },
    '__init__': set(),
    '__main__': set(),
}


def files_of(module):
    """Return a module's file, or all those of a subpackage."""
    file = PACKAGE / f'{module}.py'
    return [file] if file.exists() else sorted((PACKAGE / module).glob('*.py'))


def imports_of(module):
    found = set()
    for node in chain(*(ast.walk(ast.parse(f.read_text())) for f in files_of(module))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{module} has a relative import'
            names = [node.module or '']
            if node.module == OWN:
                names = [f'{OWN}.{alias.name}' for alias in node.names]
        else:
            continue
        found.update(names)
    return found


def outside_of_numpy_and_stdlib(names):
    for name in names:
        top, _, rest = name.partition('.')
        if top == OWN:
            # The version is no module.
            if rest != '__version__':
                yield f'own.{rest.partition(".")[0]}'
        elif top != 'numpy' and top not in sys.stdlib_module_names:
            yield top


def test_table_names_every_module():
    found = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob('*.py')}
    assert {name.removesuffix('.py') for name in found} == set(MAY_IMPORT)


@pytest.mark.parametrize('module', MAY_IMPORT)
def test_module_imports_only_what_the_table_allows(module):
    assert set(outside_of_numpy_and_stdlib(imports_of(module))) <= MAY_IMPORT[module]


def test_node_does_not_import_torch_and_the_trainer_not_ros():
    assert 'torch' not in imports_of('node')
    for module in ('train', 'evaluate', 'export', 'bench', 'calibrate', 'model', 'segmenter'):
        assert not {name.split('.')[0] for name in imports_of(module)} & {'rclpy', *MESSAGES}
