import cv2
import numpy as np
import pytest
import torch

from fcn_road_seg import train
from fcn_road_seg.checkpoint import load_checkpoint
from fcn_road_seg.datasets import BACKGROUND, ROAD, VOID

TINY = [
    *('--encoder=vgg16_bn', '--weights=none', '--pixels=6144', '--batch=4'),
    *('--accelerator=cpu', '--devices=1'),
]


@pytest.fixture(scope='module')
def easy_data(tmp_path_factory):
    """Frames whose lower part is grey road under a green background."""
    root = tmp_path_factory.mktemp('easy')
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    rng = np.random.default_rng(0)
    for i in range(10):
        mask = np.zeros((64, 96), np.uint8)
        mask[rng.integers(20, 44) :, rng.integers(0, 30) : rng.integers(60, 96)] = 255
        frame_bgr = np.where(mask[..., None] > 0, [120, 120, 120], [40, 160, 60])
        noisy = frame_bgr + rng.normal(0, 10, frame_bgr.shape)
        cv2.imwrite(str(root / f'images/{i}.png'), noisy.clip(0, 255).astype(np.uint8))
        cv2.imwrite(str(root / f'masks/{i}.png'), mask)
    return root


def scores_of(p_road):
    logit = torch.logit(torch.tensor(p_road))
    return torch.stack([torch.zeros_like(logit), logit], dim=1)


def labels_of(values):
    return torch.tensor(values, dtype=torch.uint8)


def test_loss_is_cross_entropy_plus_dice_by_hand():
    loss = train.road_loss(scores_of([[[0.8, 0.4]]]), labels_of([[[ROAD, BACKGROUND]]]))
    cross_entropy = -(np.log(0.8) + np.log(0.6)) / 2
    dice = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)
    assert loss.item() == pytest.approx(cross_entropy + dice, abs=1e-5)


def test_void_pixels_count_in_neither_part_of_the_loss():
    without = train.road_loss(scores_of([[[0.8, 0.4]]]), labels_of([[[ROAD, BACKGROUND]]]))
    with_void = train.road_loss(
        scores_of([[[0.8, 0.4, 0.999]]]), labels_of([[[ROAD, BACKGROUND, VOID]]])
    )
    assert with_void.item() == pytest.approx(without.item())


def test_batch_of_void_alone_gives_no_gradient():
    scores = scores_of([[[0.8, 0.4]]]).requires_grad_()
    loss = train.road_loss(scores, labels_of([[[VOID, VOID]]]))
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


@pytest.mark.parametrize(
    ('item', 'expected'), [('a/b', ('a/b', None)), ('a=0.5', ('a', 0.5)), ('a=b=2', ('a=b', 2.0))]
)
def test_share_is_what_follows_the_last_equals_sign(item, expected):
    assert train.split_share(item) == expected


@pytest.mark.parametrize('item', ['a=', 'a=x', 'a=0', 'a=-1', 'a=nan', 'a=inf'])
def test_share_that_is_no_positive_number_is_refused(item):
    with pytest.raises(train.DatasetError, match='is not a positive number'):
        train.split_share(item)


def test_data_sets_of_one_name_are_told_apart(easy_data):
    args = train.parse_args(['--data', str(easy_data), str(easy_data)])
    assert [s.name for s in train.load_sources(args)] == [easy_data.name, f'{easy_data.name}_1']


def test_training_without_validation_frames_still_gives_a_checkpoint(easy_data, tmp_path):
    arguments = ['--data', str(easy_data), '--val-fraction', '0', '--crop', '32', '32']
    train.main([*TINY, *arguments, '--steps', '1', '--val-every', '1', '--out', str(tmp_path)])
    assert load_checkpoint(tmp_path / 'road_fcn.safetensors').provenance.metrics == {}


def test_sources_are_drawn_by_their_shares():
    def source(name, count, value, share):
        sample = (np.full((4, 4, 3), value, np.uint8), np.zeros((4, 4), np.uint8))
        return train.Source(name, train.RoadFrames([sample] * count), train.RoadFrames([]), share)

    torch.manual_seed(0)
    sources = [source('many', 90, 0, 1.0), source('few', 10, 255, 3.0)]
    drawn = [f[0, 0, 0].item() for fs, _ in train.train_loader(sources, 10, 100) for f in fs]
    assert len(drawn) == 1000
    assert np.mean(np.array(drawn) == 255) == pytest.approx(0.75, abs=0.05)


def test_training_learns_an_easy_task_and_writes_a_checkpoint(easy_data, tmp_path, capsys):
    arguments = ['--data', str(easy_data), '--crop', '32', '64', '--out', str(tmp_path)]
    steps = ['--steps', '60', '--val-every', '60']
    assert train.main([*TINY, *arguments, *steps, '--licence', 'made up']) == 0
    checkpoint = load_checkpoint(tmp_path / 'road_fcn.safetensors')
    assert checkpoint.model.config.encoder == 'vgg16'
    assert checkpoint.input_rule.pixels == 6144
    assert checkpoint.provenance.licence == 'made up'
    assert f'{easy_data.name} (8 frames)' in checkpoint.provenance.training_data
    assert checkpoint.provenance.metrics[easy_data.name]['iou'] > 0.8


def test_training_goes_on_where_it_was_left(easy_data, tmp_path):
    arguments = [*TINY, '--data', str(easy_data), '--crop', '32', '32', '--out', str(tmp_path)]
    train.main([*arguments, '--steps', '2', '--val-every', '2'])
    last = str(tmp_path / 'last.ckpt')
    before = torch.load(last, weights_only=False)
    train.main([*arguments, '--steps', '4', '--val-every', '2', '--resume', last])
    after = torch.load(last, weights_only=False)
    assert (before['global_step'], after['global_step']) == (2, 4)
    moments = after['optimizer_states'][0]['state']
    assert {int(state['step']) for state in moments.values()} == {4}
    assert len(list(tmp_path.glob('metrics/version_*/metrics.csv'))) == 2


def test_data_at_fault_is_named_before_training_starts(easy_data, tmp_path):
    with pytest.raises(SystemExit, match=r'train: .* is no known data set'):
        train.main(['--weights', 'none', '--data', str(tmp_path)])
    with pytest.raises(SystemExit, match='nothing to train on; give --data'):
        train.main(['--weights', 'none'])
    for arguments, reason in (
        (['--rendered', 'many'], "--rendered 'many' is not a number of frames"),
        (
            ['--data', str(easy_data), '--val-fraction', '2'],
            r'val_fraction 2.0 is not in \[0, 1\)',
        ),
        (['--rendered', '4', '--skip-scales', '1'], 'give one a skip'),
        (['--rendered', '4', '--pixels', '5'], 'pixel count 5 is too small'),
    ):
        with pytest.raises(SystemExit, match=f'train: .*{reason}'):
            train.main(['--weights', 'none', *arguments])


def test_rendered_frames_are_rgb_and_change_with_the_seed():
    frames = [frame for frame, _ in train.rendered_frames(5, 7, 'test')]
    again = [frame for frame, _ in train.rendered_frames(1, 7, 'test')]
    frame_bgr, _ = train.SyntheticDrive(7, frames[0].shape[:2]).render(t_s=0.0)
    assert np.array_equal(frames[0], frame_bgr[..., ::-1])
    assert np.array_equal(frames[0], again[0])
    assert frames[4].shape != frames[0].shape or not np.array_equal(frames[4], frames[0])
