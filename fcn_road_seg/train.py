"""Train a RoadFCN on labelled frames and write its checkpoint."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import ConcatDataset, DataLoader, WeightedRandomSampler
from torchmetrics.classification import BinaryJaccardIndex
from tqdm import tqdm

from fcn_road_seg.augment import Augmentation
from fcn_road_seg.checkpoint import Checkpoint, InputRule, Provenance, save_checkpoint
from fcn_road_seg.datasets import (
    VOID,
    DatasetError,
    LabelledFrame,
    RoadFrames,
    find_frames,
    reduced,
)
from fcn_road_seg.model import (
    ENCODERS,
    SKIPS,
    RoadFCN,
    RoadFCNConfig,
    fold_batch_norm,
    imagenet_encoder_state,
    road_logit,
)
from fcn_road_seg.synthetic import SyntheticDrive

Sample = tuple[np.ndarray, np.ndarray]

RENDERED_SIZES_HW = ((375, 1242), (360, 480), (240, 320), (288, 512))
RENDERED_FRAMES_A_DRIVE = 4
# Far enough apart for other surroundings: 8 m/s or more.
RENDERED_SPACING_S = 7.0
# Seeds far from those that training draws: rendered validation scenes are unseen ones.
RENDERED_VAL_SEED = 1_000_000
RENDERED_VAL_COUNT = 60


@dataclass(frozen=True)
class Source:
    """A data set to train on, and how often it is drawn: its share of the samples."""

    name: str
    train: RoadFrames
    val: RoadFrames
    share: float


class RoadTraining(lightning.LightningModule):
    """The training and validation steps around a RoadFCN."""

    def __init__(
        self,
        config: RoadFCNConfig,
        augmentation: Augmentation,
        input_rule: InputRule,
        val_names: Sequence[str],
        learning_rate: float,
        warm_up: float = 0.05,
    ) -> None:
        super().__init__()
        self.net = RoadFCN(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
        self.augmentation = augmentation
        self.input_rule = input_rule
        self.learning_rate = learning_rate
        self.warm_up = warm_up
        self.val_names = list(val_names)
        self.val_iou = nn.ModuleList(BinaryJaccardIndex(ignore_index=VOID) for _ in val_names)

    def training_step(self, batch: tuple[list[Tensor], list[Tensor]], _: int) -> Tensor:
        frames, labels = self.augmentation(*batch)
        frames = frames.contiguous(memory_format=torch.channels_last)
        loss = road_loss(self.net.scores(frames), labels)
        self.log('train/loss', loss, prog_bar=True)
        return loss

    def validation_step(
        self, batch: tuple[list[Tensor], list[Tensor]], _: int, dataloader_idx: int = 0
    ) -> None:
        for frame, label in zip(*batch, strict=True):
            h, w = label.shape
            x = functional.interpolate(
                frame[None].float() / 255,
                self.input_rule.input_hw((h, w)),
                mode='bilinear',
                antialias=True,
            )
            logit = road_logit(self.net.scores(x))[:, None]
            logit = functional.interpolate(logit, (h, w), mode='bilinear')[0, 0]
            self.val_iou[dataloader_idx].update(logit > 0, label)  # type: ignore[operator]

    def on_validation_epoch_end(self) -> None:
        ious = [metric.compute() for metric in self.val_iou]  # type: ignore[operator]
        for name, iou, metric in zip(self.val_names, ious, self.val_iou, strict=True):
            self.log(f'val/iou_{name}', iou)
            metric.reset()  # type: ignore[operator]
        self.log('val/iou', torch.stack(ious).mean(), prog_bar=True)

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=1e-2)
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = max(1, round(steps * self.warm_up))

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


def road_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return binary cross-entropy plus Dice loss on p(road); void pixels count in neither.

    `scores` are [N, 2, H, W], `labels` [N, H, W] uint8. Dice as in Milletari et al. 2016
    (V-Net), with the batch pooled, so that a crop without road is no special case.
    """
    logit = road_logit(scores)
    valid = labels != VOID
    logit, road = logit[valid], labels[valid].float()
    if not len(road):
        return logit.sum()
    p_road = logit.sigmoid()
    dice = 1 - (2 * (p_road * road).sum() + 1) / (p_road.sum() + road.sum() + 1)
    return functional.binary_cross_entropy_with_logits(logit, road) + dice


def load_frames(frames: Sequence[LabelledFrame], text: str) -> Iterator[Sample]:
    """Read and check all `frames`, with a progress bar named `text`."""
    with ThreadPoolExecutor() as pool:
        loaded = pool.map(LabelledFrame.load, frames)
        yield from tqdm(loaded, desc=text, total=len(frames), unit='frame')


def rendered_frames(count: int, first_seed: int, text: str) -> Iterator[Sample]:
    """Render `count` frames at cameras' sizes; a drive, seeds `first_seed` and up, gives four.

    Setting up a drive costs as much as rendering ten of its frames.
    """
    for index in tqdm(range(count), desc=text, unit='frame'):
        number, step = divmod(index, RENDERED_FRAMES_A_DRIVE)
        if step == 0:
            size_hw = RENDERED_SIZES_HW[number % len(RENDERED_SIZES_HW)]
            drive = SyntheticDrive(first_seed + number, size_hw)
        frame_bgr, label = drive.render(t_s=step * RENDERED_SPACING_S)
        yield np.ascontiguousarray(frame_bgr[..., ::-1]), label


def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Keep frames of different sizes apart; the augmentation makes them one batch."""
    return [frame for frame, _ in samples], [label for _, label in samples]


def load_sources(args: argparse.Namespace) -> list[Source]:
    """Read all data that the arguments name.

    Raises:
        DatasetError: the first thing wrong with the data, naming the file.
    """
    found: list[tuple[str, float | None, Iterator[Sample], Iterator[Sample]]] = []
    for item in args.data:
        root, share = split_share(item)
        name = Path(root).name
        # Figures are told apart by these names.
        name += f'_{len(found)}' if any(name == other for other, *_ in found) else ''
        train, val = (find_frames(root, split, args.val_fraction) for split in ('train', 'val'))
        found.append(
            (name, share, load_frames(train, f'{name} train'), load_frames(val, f'{name} val'))
        )
    if args.rendered:
        count, share = split_share(args.rendered)
        if not count.isdecimal():
            raise DatasetError(f'--rendered {count!r} is not a number of frames')
        train_scenes = rendered_frames(int(count), 0, 'rendered train')
        val_scenes = rendered_frames(RENDERED_VAL_COUNT, RENDERED_VAL_SEED, 'rendered val')
        found.append(('rendered', share, train_scenes, val_scenes))
    # More pixels than a crop can show would only take memory, and alias.
    max_pixels = round(args.pixels * 1.5)
    sources = []
    for name, share, train_samples, val_samples in found:
        train_frames = RoadFrames(reduced(*sample, max_pixels) for sample in train_samples)
        sources.append(
            Source(name, train_frames, RoadFrames(val_samples), share or len(train_frames))
        )
    if not sources:
        raise DatasetError('nothing to train on; give --data DIR or --rendered COUNT')
    return sources


def split_share(item: str) -> tuple[str, float | None]:
    """Return ('DIR', 0.5) for 'DIR=0.5' and ('DIR', None) for 'DIR'.

    Raises:
        DatasetError: the share is not a positive number.
    """
    name, sign, share = item.rpartition('=')
    if not sign:
        return item, None
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise DatasetError(f'share {share!r} in {item!r} is not a positive number')
    return name, value


def train_loader(sources: Sequence[Source], batch: int, steps: int) -> DataLoader[object]:
    """Draw `steps` batches an epoch, each source by its share."""
    total = sum(source.share for source in sources)
    weights = [s.share / total / len(s.train) for s in sources for _ in range(len(s.train))]
    return DataLoader(
        ConcatDataset([source.train for source in sources]),
        batch_size=batch,
        sampler=WeightedRandomSampler(weights, num_samples=batch * steps),
        collate_fn=collate,
    )


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='train',
        description='Train a road / not road network and write its checkpoint.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    data = parser.add_argument_group('data')
    data.add_argument(
        '--data',
        nargs='+',
        default=[],
        metavar='DIR[=SHARE]',
        help='KITTI road, CamVid, IDD Lite or images + masks folders, each with its share of '
        'the samples (without one: its number of frames)',
    )
    data.add_argument(
        '--rendered', metavar='COUNT[=SHARE]', help='also train on COUNT rendered scenes'
    )
    data.add_argument(
        '--val-fraction',
        type=float,
        default=0.2,
        help='tail of each category that validates, where a data set has no split of its own',
    )
    net = parser.add_argument_group('network')
    net.add_argument('--encoder', choices=ENCODERS, default='vgg16')
    net.add_argument(
        '--weights', choices=('imagenet', 'none'), default='imagenet', help='of the encoder'
    )
    net.add_argument('--fcn', type=int, choices=(8, 16, 32), default=8, help='8: both skips')
    net.add_argument(
        '--skip-scales', type=float, nargs='+', metavar='S', help='one per skip, pool4 first'
    )
    net.add_argument(
        '--pixels', type=int, default=256 * 256, help='pixel count at which it sees a frame'
    )
    loop = parser.add_argument_group('training')
    loop.add_argument('--crop', type=int, nargs=2, default=(160, 288), metavar=('H', 'W'))
    loop.add_argument('--batch', type=int, default=8)
    loop.add_argument('--steps', type=int, default=6000)
    loop.add_argument('--val-every', type=int, default=300, metavar='STEPS')
    loop.add_argument('--learning-rate', type=float, default=1e-3)
    loop.add_argument('--precision', default='auto', help="Lightning's, such as bf16-mixed")
    loop.add_argument('--accelerator', default='auto', help="Lightning's, such as cpu or gpu")
    loop.add_argument('--devices', default='auto', help="Lightning's: how many, or which")
    loop.add_argument('--nodes', type=int, default=1, help='machines')
    loop.add_argument('--seed', type=int, default=0)
    loop.add_argument('--resume', metavar='CKPT', help="go on from a run's last.ckpt")
    out = parser.add_argument_group('output')
    out.add_argument('--out', type=Path, default=Path('train_out'), help='folder to write to')
    out.add_argument('--licence', default='unknown', help='of the training data')
    args = parser.parse_args(argv)
    if args.weights == 'imagenet' and args.resume:
        args.weights = 'none'
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    torch.set_float32_matmul_precision('high')
    lightning.seed_everything(args.seed)
    try:
        skips = SKIPS[: {8: 2, 16: 1, 32: 0}[args.fcn]]
        scales = tuple(args.skip_scales) if args.skip_scales else (1.0,) * len(skips)
        config = RoadFCNConfig(encoder=args.encoder, skips=skips, skip_scales=scales)
        input_rule = InputRule(pixels=args.pixels)
        sources = load_sources(args)
    except ValueError as error:
        raise SystemExit(f'train: {error}') from error
    validated = [source for source in sources if len(source.val)]
    training = RoadTraining(
        config,
        Augmentation(crop_hw=tuple(args.crop), pixels=args.pixels),
        input_rule,
        [source.name for source in validated],
        args.learning_rate,
    )
    if args.weights == 'imagenet':
        try:
            state = imagenet_encoder_state(args.encoder)
        except OSError as error:
            raise SystemExit(
                f'train: ImageNet weights cannot be downloaded ({error}); '
                'use --weights none --encoder vgg16_bn'
            ) from error
        training.net.encoder.features.load_state_dict(state)

    best = ModelCheckpoint(
        args.out, 'best', monitor='val/iou' if validated else None, mode='max', save_last=True
    )
    trainer = lightning.Trainer(
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.nodes,
        precision=precision_of(args.precision),  # type: ignore[arg-type]
        max_steps=args.steps,
        gradient_clip_val=1.0,
        callbacks=[best, LearningRateMonitor('step')],
        logger=CSVLogger(args.out, name='metrics'),
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        default_root_dir=args.out,
    )
    val_loaders = [DataLoader(s.val, batch_size=1, collate_fn=collate) for s in validated]
    trainer.fit(
        training,
        train_loader(sources, args.batch, args.val_every),
        val_loaders,
        ckpt_path=args.resume,
    )
    if best.best_model_path:
        trainer.validate(training, val_loaders, ckpt_path=best.best_model_path)
    if trainer.is_global_zero:
        path = args.out / 'road_fcn.safetensors'
        metrics = {
            key.removeprefix('val/iou_'): {'iou': round(value.item(), 4)}
            for key, value in trainer.callback_metrics.items()
            if key.startswith('val/iou_')
        }
        data = ', '.join(f'{s.name} ({len(s.train)} frames)' for s in sources)
        save_checkpoint(
            Checkpoint(
                fold_batch_norm(training.net),
                input_rule,
                provenance=Provenance(data, args.licence, metrics),
            ),
            path,
            torch.float16,
        )
        print(f'{path}: {metrics}')
    return 0


def precision_of(name: str) -> str:
    """Return Lightning's name of a precision; 'auto' is bf16-mixed on CUDA, else float32."""
    if name != 'auto':
        return name
    return 'bf16-mixed' if torch.cuda.is_available() else '32-true'


if __name__ == '__main__':
    raise SystemExit(main())
