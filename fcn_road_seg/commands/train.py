"""Train a RoadFCN on labelled frames and write its checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

from fcn_road_seg.commands.cli import missing_package, run_command
from fcn_road_seg.commands.train_arguments import build_options, build_recipe, parse_args
from fcn_road_seg.training.errors import TrainingError

EXTRA = ('lightning', 'matplotlib', 'tensorboard', 'torchmetrics')


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say; return the exit status."""
    args = parse_args(argv)
    if argv is None:
        # With several devices Lightning starts `python -m SPEC sys.argv[1:]` for each of the
        # others, and `fcn-road-seg train` leaves only the arguments of train in sys.argv.
        sys.modules['__main__'].__spec__ = find_spec('fcn_road_seg.commands.train')

    def work() -> None:
        options, recipe = build_options(args), build_recipe(args)
        # PyTorch and Lightning take seconds to import.
        try:
            from fcn_road_seg.inference.calibration import calibrate
            from fcn_road_seg.inference.fast_teacher import fast_road_logit
            from fcn_road_seg.training.dry_run import dry_run
            from fcn_road_seg.training.run import train
            from fcn_road_seg.training.run_folder import CHECKPOINT_NAME
            from fcn_road_seg.training.trainer import say
        except ModuleNotFoundError as missing:
            if missing_package(missing) not in EXTRA:
                raise
            raise SystemExit(f'train: {missing}; pip install {" ".join(EXTRA)}') from missing

        run = dry_run if args.fast_dev_run else train
        metrics = run(
            options, recipe, partial(calibrate, say=say), partial(fast_road_logit, say=say)
        )
        # If there are several processes, only one has written the network.
        if metrics is not None and args.fast_dev_run:
            say('dry run: all parts work; start the real one without --fast-dev-run')
        elif metrics is not None:
            print(f'{args.out / CHECKPOINT_NAME}: {metrics}')

    return run_command(
        'train', work, (ValueError, OSError, TrainingError), gpu_remedy='use --accelerator cpu'
    )


if __name__ == '__main__':
    raise SystemExit(main())
