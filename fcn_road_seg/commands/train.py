"""Train a RoadFCN on labelled frames and write its checkpoint."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fcn_road_seg.commands.arguments import add_split_arguments, split_rule
from fcn_road_seg.model.checkpoint import Checkpoint
from fcn_road_seg.model.input_rule import InputRule
from fcn_road_seg.model.road_fcn import ENCODERS, SKIPS, RoadFCN, RoadFCNConfig
from fcn_road_seg.training.data_module import load_sources
from fcn_road_seg.training.pretrained import load_weights
from fcn_road_seg.training.recipes import PIECES, RECIPES, Recipe
from fcn_road_seg.training.run import (
    build_callbacks,
    lightning_precision,
    refuse_to_overwrite,
    write_checkpoint,
)

try:
    import lightning
    from lightning.pytorch.callbacks import (
        Callback,
        EarlyStopping,
        LearningRateMonitor,
        ModelCheckpoint,
    )
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    from fcn_road_seg.training.callbacks import ProgressPictures, WholeCheckpoints, weight_average
    from fcn_road_seg.training.data_module import RoadData
    from fcn_road_seg.training.lightning_module import VAL_IOU_KEY, RoadTraining, TrainingError
except ImportError as missing:
    raise SystemExit(
        f'train: {missing}; pip install lightning matplotlib tensorboard torchmetrics'
    ) from missing


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
    add_split_arguments(data)
    net = parser.add_argument_group('network')
    net.add_argument('--encoder', choices=ENCODERS, default='vgg16')
    net.add_argument(
        '--weights',
        default='imagenet',
        help='to begin with: imagenet (downloaded by torchvision), none, a file of torchvision '
        "(.pth), a checkpoint (.safetensors) or a run's best.ckpt",
    )
    net.add_argument('--fcn', type=int, choices=(8, 16, 32), default=8, help='8: both skips')
    net.add_argument(
        '--skip-scales', type=float, nargs='+', metavar='S', help='one per skip, pool4 first'
    )
    how = parser.add_argument_group('recipe', 'what is not given is as the recipe has it')
    how.add_argument(
        '--recipe',
        choices=tuple(RECIPES),
        default='strong',
        help='strong: AdamW, cosine, EMA, cross-entropy + Dice, augmentation; classic: Adam, '
        'cross-entropy, whole frames at 256 x 256',
    )
    how.add_argument(
        '--without', nargs='+', choices=tuple(PIECES), default=[], help='pieces to leave out'
    )
    how.add_argument('--pixels', type=int, help='pixel count at which it sees a frame')
    how.add_argument('--crop', type=int, nargs=2, metavar=('H', 'W'))
    how.add_argument('--batch', type=int, help='crops a step, on each device')
    how.add_argument('--learning-rate', type=float)
    how.add_argument('--encoder-rate', type=float, help="relative to the decoder's")
    loop = parser.add_argument_group('training')
    loop.add_argument(
        '--steps', type=int, default=6000, help='rounded up to a multiple of --val-every'
    )
    loop.add_argument('--val-every', type=int, default=300, metavar='STEPS')
    loop.add_argument(
        '--freeze', type=int, default=0, metavar='STEPS', help='steps for which the encoder rests'
    )
    loop.add_argument(
        '--patience', type=int, metavar='N', help='end after N validations without a better one'
    )
    loop.add_argument(
        '--precision', default='auto', help="auto (bf16-mixed where fast) or Lightning's name"
    )
    loop.add_argument('--accelerator', default='auto', help="Lightning's, such as cpu or gpu")
    loop.add_argument('--devices', default='auto', help="Lightning's: how many, or which")
    loop.add_argument('--nodes', type=int, default=1, help='machines')
    loop.add_argument('--seed', type=int, default=0)
    loop.add_argument('--resume', metavar='CKPT', help="go on from a run's last.ckpt")
    out = parser.add_argument_group('output')
    out.add_argument('--out', type=Path, default=Path('train_out'), help='folder to write to')
    out.add_argument('--licence', default='unknown', help='of the training data')
    out.add_argument(
        '--threshold',
        type=float,
        default=Checkpoint.threshold,
        help='p(road) from which on the written network says road',
    )
    args = parser.parse_args(argv)
    for name in ('steps', 'val_every', 'batch', 'patience'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} {value} is too small; use at least 1')
    if not 0 < args.threshold < 1:
        parser.error(f'--threshold {args.threshold} is not between 0 and 1')
    args.val_every = min(args.val_every, args.steps)
    return args


def build_recipe(args: argparse.Namespace) -> Recipe:
    """Return the recipe that the arguments name, with what they change of it.

    Raises:
        ValueError: the pixel count is too small.
    """
    changes = {
        'crop_hw': tuple(args.crop) if args.crop else None,
        'batch': args.batch,
        'learning_rate': args.learning_rate,
        'encoder_rate': args.encoder_rate,
        'input_rule': InputRule(pixels=args.pixels) if args.pixels is not None else None,
    }
    recipe = RECIPES[args.recipe].without(args.without)
    return replace(recipe, **{k: v for k, v in changes.items() if v is not None})


def build_network(args: argparse.Namespace) -> RoadFCN:
    """Return the network that the arguments name, with the weights that it begins with.

    Raises:
        ValueError: skip scales or weights that do not fit it.
    """
    skips = SKIPS[: {8: 2, 16: 1, 32: 0}[args.fcn]]
    scales = tuple(args.skip_scales) if args.skip_scales else (1.0,) * len(skips)
    net = RoadFCN(RoadFCNConfig(encoder=args.encoder, skips=skips, skip_scales=scales))
    if not args.resume:
        load_weights(net, args.weights)
    return net


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say; return 0."""
    args = parse_args(argv)
    torch.set_float32_matmul_precision('high')
    lightning.seed_everything(args.seed)
    try:
        refuse_to_overwrite(args)
        recipe = build_recipe(args)
        # More pixels than a crop can show would only take memory, and alias.
        seen = recipe.input_rule.pixels or recipe.crop_hw[0] * recipe.crop_hw[1]
        net = build_network(args)
        sources = load_sources(args.data, args.rendered, split_rule(args), round(seen * 1.5))
    except ValueError as error:
        raise SystemExit(f'train: {error}') from error
    training = RoadTraining(
        net,
        recipe,
        [source.name for source in sources if len(source.val)],
        args.freeze,
        recipe.encoder_rate if args.weights != 'none' else 1.0,
        args.seed,
    )
    callbacks = build_callbacks(args, recipe, validated=bool(training.val_names))
    on_cpu = args.accelerator == 'cpu' or not torch.cuda.is_available()
    trainer = lightning.Trainer(
        accelerator=args.accelerator,
        devices=args.devices,
        num_nodes=args.nodes,
        sync_batchnorm=not on_cpu,
        precision=lightning_precision(args.precision, recipe, on_cpu),  # type: ignore[arg-type]
        max_epochs=math.ceil(args.steps / args.val_every),
        gradient_clip_val=recipe.clip_norm,
        callbacks=callbacks,
        logger=[CSVLogger(args.out, name='metrics'), TensorBoardLogger(args.out, 'tensorboard')],
        plugins=[WholeCheckpoints()],
        log_every_n_steps=20,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=args.out,
    )
    data = RoadData(sources, recipe.batch, args.val_every, args.seed)
    try:
        trainer.fit(training, datamodule=data, ckpt_path=args.resume)
    except TrainingError as error:
        raise SystemExit(f'train: {error}') from error
    except SystemExit as error:
        # So Lightning ends on Ctrl-C, with nothing said of what is left.
        raise SystemExit(
            f'train: interrupted at step {trainer.global_step}; what was validated is in '
            f'{args.out}, go on with --resume {args.out / "last.ckpt"}'
        ) from error
    if trainer.is_global_zero:
        write_checkpoint(args, training, sources)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
