"""Nothing that the package reads is run: no pickle, no evaluation, no shell, no download."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = [*REPOSITORY.glob('fcn_road_seg/**/*.py'), *REPOSITORY.glob('launch/*.py')]
# Each runs code, or can, that stands in the data it is given.
FORBIDDEN_CALLS = {
    *('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen', 'runpy.run_path'),
    *('pickle.load', 'pickle.loads', 'pickle.Unpickler', 'marshal.load', 'marshal.loads'),
    *('yaml.load', 'yaml.unsafe_load', 'yaml.full_load', 'torch.jit.load', 'torch.hub.load'),
    *('shelve.open', 'joblib.load', 'cv2.FileStorage', 'subprocess.getoutput'),
}
NETWORK = re.compile(
    r'(aiohttp|ftplib|http|httpx|requests|socket|ssl|urllib\.request|urllib3|huggingface_hub'
    r'|torch\.hub|torchvision\.models)\b'
)
# Ray itself pickles what its processes send each other: no file is read like this.
OF_OWN_PROCESSES = {('fcn_road_seg/fleet/ray_cluster.py', 'pickle.loads')}
# torchvision's ImageNet weights, which `train --weights imagenet` names, come by torchvision.
DOWNLOADING = 'fcn_road_seg/training/pretrained.py'


def name_of(path):
    return str(path.relative_to(REPOSITORY))


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ''


def calls_in(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            yield ast.unparse(node.func), options


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_no_call_runs_what_is_read(path):
    for name, options in calls_in(path):
        assert name not in FORBIDDEN_CALLS or (name_of(path), name) in OF_OWN_PROCESSES
        assert options.get('shell', 'False') == 'False'
        assert options.get('allow_pickle', 'False') == 'False'


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_files_of_torch_are_read_with_weights_only(path):
    for name, options in calls_in(path):
        if name.rpartition('.')[2] == 'load' and name.startswith('torch'):
            assert options.get('weights_only') == 'True'


@pytest.mark.parametrize('path', FILES, ids=name_of)
def test_nothing_is_downloaded_but_weights_that_training_names(path):
    network = {name for name in imports_of(path) if NETWORK.match(name)}
    assert network <= ({'torchvision.models'} if name_of(path) == DOWNLOADING else set())
