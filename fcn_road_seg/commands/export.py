"""Write a checkpoint as a portable model that gives the same mask."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fcn_road_seg.model.checkpoint import CheckpointError, default_checkpoint_path, load_checkpoint
from fcn_road_seg.model.onnx_export import ExportError, export_onnx


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='export', description='Write a checkpoint as a portable model.'
    )
    parser.add_argument('--checkpoint', help='file; without one, that of the package')
    parser.add_argument('--format', choices=('onnx',), default='onnx')
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help="without it, the checkpoint's name, here"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and print where, its size and how near it is to the network; return 0."""
    args = parse_args(argv)
    try:
        source = Path(args.checkpoint or default_checkpoint_path())
        out: Path = args.out or Path(f'{source.stem}.{args.format}')
        if out.suffix != f'.{args.format}' or out.is_dir() or not out.parent.is_dir():
            raise ExportError(f'{out} is not a .{args.format} file in a folder that exists')
        difference = export_onnx(load_checkpoint(source), out)
    except (CheckpointError, ExportError, OSError) as error:
        raise SystemExit(f'export: {error}') from error
    compared = 'not compared with PyTorch: onnxruntime is not installed'
    if difference is not None:
        compared = f'p(road) differs by at most {difference:.1e} from PyTorch on a random frame'
    print(f'{out}: {out.stat().st_size / 1e6:.1f} MB, {compared}')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
