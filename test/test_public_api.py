"""`from fcn_road_seg import ...`: the names, and that they are imported on first use."""

import json
import os
import re
import subprocess
import sys

import pytest

import fcn_road_seg

HOMES = {
    'OverlayStyle': 'fcn_road_seg.inference.interfaces',
    'RoadFCN': 'fcn_road_seg.model.road_fcn',
    'RoadSegmenter': 'fcn_road_seg.inference.segmenter',
    'Segmentation': 'fcn_road_seg.inference.interfaces',
    'default_checkpoint_path': 'fcn_road_seg.model.shipped_checkpoints',
    'load_checkpoint': 'fcn_road_seg.model.checkpoint',
}


def modules_after(statement):
    """Return the names of the modules that a new process has imported after `statement`."""
    code = f'import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_neither_torch_nor_opencv():
    assert not modules_after('import fcn_road_seg') & {'torch', 'cv2', 'numpy'}


def test_asking_for_the_version_imports_nothing():
    assert not modules_after('from fcn_road_seg import __version__') & {'torch', 'cv2', 'numpy'}


def test_segmentation_is_imported_without_torch():
    assert 'torch' not in modules_after('from fcn_road_seg import Segmentation')


def test_segmenter_is_imported_on_first_use_without_torch():
    modules = modules_after('from fcn_road_seg import RoadSegmenter')
    assert 'cv2' in modules
    assert 'torch' not in modules


@pytest.mark.parametrize(('name', 'home'), HOMES.items())
def test_name_is_what_its_module_defines(name, home):
    assert getattr(fcn_road_seg, name) is getattr(sys.modules[home], name)
    assert getattr(fcn_road_seg, name).__module__ == home


def test_all_lists_the_names_and_the_version():
    assert sorted(fcn_road_seg.__all__) == sorted([*HOMES, '__version__'])


def test_dir_lists_the_names():
    assert set(fcn_road_seg.__all__) <= set(dir(fcn_road_seg))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'fcn_road_seg' has no attribute 'Segmenter'"):
        fcn_road_seg.Segmenter  # noqa: B018


def test_unknown_name_cannot_be_imported():
    with pytest.raises(ImportError, match="cannot import name 'Segmenter'"):
        from fcn_road_seg import Segmenter  # noqa: F401


def openmp_after(statement, **variables):
    """Return what each GNU OpenMP that `statement` loads in a new process reads, by name."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('OMP_', 'GOMP_'))}
    done = subprocess.run(
        [sys.executable, '-c', statement],
        env={**env, 'OMP_DISPLAY_ENV': 'verbose', **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    read = {}
    for name, value in re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(\w+)'", done.stderr):
        read.setdefault(name, set()).add(value)
    return read


def test_waiting_threads_of_pytorch_do_not_spin():
    read = openmp_after('from fcn_road_seg import RoadSegmenter')
    if not read:
        pytest.skip('this PyTorch has another OpenMP than GNU')
    assert read == {'OMP_WAIT_POLICY': {'PASSIVE'}, 'GOMP_SPINCOUNT': {'0'}}


def test_waiting_threads_of_ncnn_do_not_spin():
    pytest.importorskip('ncnn')
    read = openmp_after('import fcn_road_seg.inference.backends.ncnn_backend')
    if not read:
        pytest.skip('this ncnn has another OpenMP than GNU')
    assert read == {'OMP_WAIT_POLICY': {'PASSIVE'}, 'GOMP_SPINCOUNT': {'0'}}


def test_wait_policy_of_the_user_is_kept():
    read = openmp_after('from fcn_road_seg import RoadSegmenter', OMP_WAIT_POLICY='active')
    assert read.get('OMP_WAIT_POLICY', {'ACTIVE'}) == {'ACTIVE'}


def test_spin_count_of_the_user_is_kept():
    read = openmp_after('from fcn_road_seg import RoadSegmenter', GOMP_SPINCOUNT='5000')
    assert read.get('GOMP_SPINCOUNT', {'5000'}) == {'5000'}
