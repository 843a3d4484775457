import pytest
import torch

from fcn_road_seg.commands import train
from fcn_road_seg.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcn_road_seg.model.checkpoint_file import Provenance
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.network_config import RoadFCNConfig
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.utils.cpu_features import has_exact_int8
from test.helpers.easy_data import TINY
from test.helpers.reference import model_of

pytest.importorskip('lightning', reason='lightning is not installed')
pytest.importorskip('torchmetrics', reason='torchmetrics is not installed')

from fcn_road_seg.training.lightning_module import RoadTraining


@pytest.fixture(scope='module')
def teacher_path(tmp_path_factory):
    """A random network on plain vgg16 with context, of another input rule than the students'."""
    path = tmp_path_factory.mktemp('teacher') / 'teacher.safetensors'
    provenance = Provenance("the teacher's frames")
    model = model_of(RoadFCNConfig(context=True))
    save_checkpoint(Checkpoint(model, InputRule(fixed_hw=(64, 64)), provenance=provenance), path)
    return path


@pytest.fixture(scope='module')
def second_teacher_path(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'second.safetensors'
    model = model_of(RoadFCNConfig(width=0.25))
    provenance = Provenance("the second one's frames")
    save_checkpoint(Checkpoint(model, InputRule(pixels=6144), provenance=provenance), path)
    return path


@pytest.fixture(scope='module')
def student_arguments(easy_data, teacher_path, second_teacher_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    return [*arguments, '--context', '--teacher', str(teacher_path), str(second_teacher_path)]


@pytest.fixture(scope='module')
def student_run(student_arguments, tmp_path_factory):
    """The folder of a student's run of four steps."""
    out = tmp_path_factory.mktemp('student')
    arguments = ['--steps', '4', '--val-every', '2', '--out', str(out)]
    assert train.main([*student_arguments, *arguments]) == 0
    return out


def test_student_is_a_narrow_network_that_names_its_teachers(
    student_run, teacher_path, second_teacher_path
):
    checkpoint = load_checkpoint(student_run / 'road_fcn.safetensors')
    assert checkpoint.model.config == RoadFCNConfig('vgg16', context=True, width=0.25)
    first, second = (load_checkpoint(p).sha256[:12] for p in (teacher_path, second_teacher_path))
    assert checkpoint.provenance.training_data.endswith(
        f"; p(road) of checkpoint {first}, trained on the teacher's frames"
        f"; p(road) of checkpoint {second}, trained on the second one's frames"
    )


@pytest.mark.parametrize('kind', ['state_dict', 'current_model_state'])
def test_run_of_a_student_holds_nothing_of_its_teacher(student_run, kind):
    saved = torch.load(student_run / 'last.ckpt', weights_only=True)
    student = RoadFCN(RoadFCNConfig('vgg16_bn', context=True, width=0.25))
    expected = {f'net.{name}' for name in student.state_dict()}
    assert {name for name in saved[kind] if not name.startswith('val_iou.')} == expected
    assert (student_run / 'last.ckpt').stat().st_size < 20e6


def test_resumed_student_ends_with_the_weights_of_an_uninterrupted_one(
    student_arguments, student_run, tmp_path, monkeypatch
):
    def cut_off(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 3:
            raise KeyError('power cut')

    arguments = [*student_arguments, '--steps', '4', '--val-every', '2', '--out', str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(RoadTraining, 'on_train_batch_end', cut_off)
        with pytest.raises(KeyError, match='power cut'):
            train.main(arguments)
    train.main([*arguments, '--resume', str(tmp_path / 'last.ckpt')])
    whole, cut = (torch.load(d / 'last.ckpt', weights_only=True) for d in (student_run, tmp_path))
    for name, tensor in whole['state_dict'].items():
        assert torch.equal(tensor, cut['state_dict'][name]), name


def test_student_of_another_weight_becomes_another_network(
    student_arguments, student_run, tmp_path
):
    arguments = [*student_arguments, '--steps', '4', '--val-every', '2', '--out', str(tmp_path)]
    train.main([*arguments, '--teacher-weight', '0.5'])
    one, other = (load_checkpoint(d / 'road_fcn.safetensors') for d in (student_run, tmp_path))
    assert one.sha256 != other.sha256


@pytest.mark.skipif(not has_exact_int8(), reason='this CPU has neither VNNI nor AMX')
def test_teacher_that_agrees_in_int8_computes_in_it(easy_data, tmp_path, capsys):
    pytest.importorskip('openvino', reason='openvino is not installed')
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32x32', '--batch', '2']
    arguments += ['--teacher', 'lite', '--out', str(tmp_path / 'run'), '--fast-dev-run']
    assert train.main(arguments) == 0
    assert 'the teacher computes in int8' in capsys.readouterr().out
