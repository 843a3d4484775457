"""Time networks of each width on a CPU, by ncnn and OpenVINO, with random weights.

    PYTHONPATH=. taskset -c 1 python benchmarks/widths.py --input 160x512 --threads 1

Each round runs every network once, every second round in reverse order. The ratio is the median of
the rounds' ratios, so that a varying load affects both sides.
"""

from __future__ import annotations

import argparse
import time
from unittest.mock import patch

import numpy as np
import torch

from fcn_road_seg.commands.arguments import size_hw, whole_number
from fcn_road_seg.inference.backends import openvino_backend
from fcn_road_seg.inference.backends.ncnn_backend import NcnnBackend
from fcn_road_seg.inference.backends.openvino_backend import OpenVinoBackend
from fcn_road_seg.inference.interfaces import CpuBackend
from fcn_road_seg.model.network_config import WIDTHS, RoadFCNConfig
from fcn_road_seg.model.network_weights import NetworkWeights
from fcn_road_seg.model.road_fcn import RoadFCN
from fcn_road_seg.utils.cpu_features import has_bfloat16, has_exact_int8, has_fast_bfloat16

# Any values will do: the time does not depend on them.
PEAKS = (3.0,) * 13
PIECES = ({}, {'context': True}, {'context': True, 'overlap': True})
# On a CPU with AMX, int8 as without it: the layers that are not in int8 are in float32.
BESIDE_FLOAT32 = 'int8 and float32'
BY_NCNN = 'float32 (ncnn)'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--input',
        type=size_hw,
        default=(160, 512),
        metavar='HxW',
        help='Network input size (default: 160x512).',
    )
    parser.add_argument(
        '--threads',
        type=whole_number(1),
        default=1,
        metavar='N',
        help='Number of CPU threads (default: 1).',
    )
    parser.add_argument(
        '--rounds',
        type=whole_number(1),
        default=60,
        metavar='N',
        help='Number of rounds (default: 60).',
    )
    args = parser.parse_args()
    precisions = [BY_NCNN, 'float32'] + ['bfloat16'] * has_bfloat16()
    precisions += ['int8' if has_exact_int8() else 'int8_avx2']
    precisions += [BESIDE_FLOAT32] * (has_exact_int8() and has_fast_bfloat16())
    configs = [RoadFCNConfig(width=width, **pieces) for width in WIDTHS for pieces in PIECES]
    frame_rgb = np.random.default_rng(0).integers(0, 256, (*args.input, 3), np.uint8)
    torch.manual_seed(0)
    weights_of = [RoadFCN(config).weights() for config in configs]
    networks = {
        (config, precision): _network(weights, precision, args.threads)
        for config, weights in zip(configs, weights_of, strict=True)
        for precision in precisions
    }
    times_s = {key: [] for key in networks}
    for i in range(args.rounds + 1):
        for key in list(networks)[:: -1 if i % 2 else 1]:
            began_s = time.perf_counter()
            networks[key].road_logit(frame_rgb)
            # The first round compiles.
            if i:
                times_s[key].append(time.perf_counter() - began_s)
    print('| width | precision | median (ms) | of width 1 | with context | and overlap |')
    print('| --- | --- | --- | --- | --- | --- |')
    for precision in precisions:
        full = np.array(times_s[configs[0], precision])
        for width in WIDTHS:
            plain, *others = (
                np.array(times_s[RoadFCNConfig(width=width, **pieces), precision])
                for pieces in PIECES
            )
            ratios = ' | '.join(f'{np.median(taken / full):.3f}' for taken in (plain, *others))
            print(f'| {width:g} | {precision} | {1e3 * np.median(plain):.1f} | {ratios} |')


def _network(weights: NetworkWeights, precision: str, threads: int) -> CpuBackend:
    if precision == BY_NCNN:
        return NcnnBackend(weights, threads)
    if precision != BESIDE_FLOAT32:
        return OpenVinoBackend(weights, precision, PEAKS, threads)
    with patch.object(openvino_backend, 'has_fast_bfloat16', lambda: False):
        return OpenVinoBackend(weights, 'int8', PEAKS, threads)


if __name__ == '__main__':
    main()
