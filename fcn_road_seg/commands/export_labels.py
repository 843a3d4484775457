"""Write frames with the network's masks for CVAT or Label Studio."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fcn_road_seg.bags.label_export import LabelExport, refuse_other_inputs
from fcn_road_seg.commands.arguments import (
    add_segmenter_arguments,
    add_topics_argument,
    build_segmenter,
    whole_number,
)
from fcn_road_seg.commands.cli import print_bad_frames, run_command
from fcn_road_seg.datasets.label_folder import atomic_label_folder
from fcn_road_seg.datasets.label_studio import LabelStudioFolder
from fcn_road_seg.datasets.voc_folder import VocFolder

FORMATS = {'cvat': VocFolder, 'label-studio': LabelStudioFolder}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='export_labels',
        description='Segment frames and write them with their masks, to be corrected by people in '
        'CVAT or Label Studio. train --data reads the corrected labels.',
    )
    parser.add_argument(
        'inputs', type=Path, nargs='+', metavar='IN', help='Bags or folders of images to read.'
    )
    parser.add_argument(
        'out', type=Path, metavar='OUT', help='Folder to write; it must not exist.'
    )
    parser.add_argument(
        '--format',
        choices=tuple(FORMATS),
        default='cvat',
        help="Format: CVAT's Segmentation mask 1.1, or Label Studio's JSON with brush masks "
        '(default: %(default)s).',
    )
    parser.add_argument(
        '--pick',
        type=whole_number(1),
        metavar='N',
        help='Write only the N frames about which the network is least sure, spread over time '
        '(default: all).',
    )
    add_topics_argument(parser, 'of bags to read')
    add_segmenter_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder and print how many frames it has; return the exit status."""
    args = parse_args(argv)
    return run_command(
        'export_labels',
        lambda: export_labels(args),
        (ValueError, OSError),
        lambda: f'interrupted; {args.out} was not written',
    )


def export_labels(args: argparse.Namespace) -> None:
    """Write what the arguments ask for.

    Raises:
        BagError, CheckpointError, DatasetError, SegmenterError, ValueError, OSError: as
            LabelExport, build_segmenter, atomic_label_folder and refuse_other_inputs.
    """
    refuse_other_inputs(args.inputs)
    with atomic_label_folder(args.out, FORMATS[args.format]) as folder:
        # Last, as it loads the network, which may take seconds.
        export = LabelExport(args.inputs, args.topics, build_segmenter(args))
        export.run(folder, args.pick)
    print_bad_frames(export.counts.errors)
    print(f'{args.out}: {export.counts.written} of {export.counts.read} frames written')


if __name__ == '__main__':
    raise SystemExit(main())
