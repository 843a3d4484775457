"""A run over many bags, with segmenters that load instantly, as a program that can be killed.

Arguments: the folder of the bags, the folder for the new ones, a Ray cluster's address or ''. The
exit status is the number of bags that failed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fcn_road_seg.fleet.catalogue import find_bags
from fcn_road_seg.fleet.processes import label_in_processes
from fcn_road_seg.fleet.ray_cluster import label_on_ray, ray_cluster
from fcn_road_seg.fleet.run import segment_bags
from test.helpers.grey_segmenter import grey_assignment

PAUSE_S = 0.15


def main(drives: Path, out: Path, address: str) -> int:
    assignment = grey_assignment(out, pause_s=PAUSE_S)

    def work(jobs):
        if not address:
            yield from label_in_processes(assignment, jobs, 2)
            return
        with ray_cluster(address) as ray:
            # Divides every bag, of 4 frames, into two ranges.
            yield from label_on_ray(ray, assignment, jobs, {'num_cpus': 1}, task_frames=2)

    counts = segment_bags(assignment, find_bags([drives], out), work)
    print(counts.failures)
    return len(counts.failures)


if __name__ == '__main__':
    raise SystemExit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
