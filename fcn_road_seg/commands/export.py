"""Write a checkpoint as an ONNX model that gives the same mask."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fcn_road_seg.commands.arguments import add_checkpoint_argument
from fcn_road_seg.commands.cli import run_command
from fcn_road_seg.model.shipped_checkpoints import checkpoint_path
from fcn_road_seg.utils.atomic_write import refuse_to_overwrite


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='export', description='Write a checkpoint as an ONNX model that gives the same mask.'
    )
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--format', choices=('onnx',), default='onnx', help='File format (default: onnx).'
    )
    parser.add_argument(
        '--out',
        type=Path,
        metavar='FILE',
        help="File to write; it must not exist (default: the checkpoint's name, in the current "
        'folder).',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and print its path, size and largest error; return the exit status."""
    args = parse_args(argv)
    return run_command('export', lambda: export(args), (ValueError, OSError))


def export(args: argparse.Namespace) -> None:
    """Write what the arguments ask for.

    Raises:
        CheckpointError, ExportError, ValueError, OSError: as load_checkpoint, export_onnx and
            refuse_to_overwrite.
    """
    # PyTorch and ONNX take seconds to import.
    from fcn_road_seg.model.checkpoint import load_checkpoint
    from fcn_road_seg.model.onnx_export import ExportError, export_onnx

    source = checkpoint_path(args.checkpoint)
    out: Path = args.out or Path(f'{source.stem}.{args.format}')
    if out.suffix != f'.{args.format}' or out.is_dir() or not out.parent.is_dir():
        raise ExportError(
            f'{out} is not a .{args.format} file in an existing folder; give one with --out'
        )
    refuse_to_overwrite(out)
    difference = export_onnx(load_checkpoint(source), out)
    check = 'not compared with PyTorch: onnxruntime is not installed'
    if difference is not None:
        check = f'p(road) differs from PyTorch by at most {difference:.1e} on a random frame'
    print(f'{out}: {out.stat().st_size / 1e6:.1f} MB, {check}')


if __name__ == '__main__':
    raise SystemExit(main())
