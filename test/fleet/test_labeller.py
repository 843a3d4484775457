from dataclasses import replace

import numpy as np
import pytest

from fcn_road_seg.bags.bag_segmenter import BagSegmenter
from fcn_road_seg.bags.options import BagOptions, GridOptions
from fcn_road_seg.bags.reader import BagReader
from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.bags.writer import atomic_bag_writer
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.labeller import Labeller, reason_of
from fcn_road_seg.fleet.manifest import FILE_NAME
from test.helpers.bag_files import (
    STAMP_NS,
    STEP_NS,
    camera_info,
    drive_images,
    header,
    image,
    write_bag,
)
from test.helpers.grey_segmenter import GreySegmenter, grey_assignment

OUTPUTS = ('mask', 'road_probability', 'overlay')
EVERYTHING = BagOptions(outputs=OUTPUTS, originals=True, grid=GridOptions(1.65))


@pytest.fixture
def job(tmp_path):
    """Write a bag of 12 messages: frames, two of them bad, and two different calibrations."""
    images = drive_images(10)
    for bad in (2, 7):
        images[bad] = image(STAMP_NS + bad * STEP_NS, encoding='nonsense')
    infos = [camera_info((60, 200)), camera_info((60, 200), d=np.full(5, 0.01))]
    infos[1].header = header(STAMP_NS + 5 * STEP_NS, 'camera')
    source = write_bag(tmp_path / 'drive', {'/image': images, '/camera_info': infos})
    return BagJob(source, tmp_path / 'out/drive')


@pytest.fixture
def labeller(tmp_path):
    return Labeller(grey_assignment(tmp_path / 'out', EVERYTHING))


@pytest.fixture
def one_bag(tmp_path, job):
    """Segment the bag as `segment_bag IN OUT` does."""
    out = tmp_path / 'one/drive'
    out.parent.mkdir()
    with BagReader(job.source) as reader, atomic_bag_writer(out, 'mcap') as bag:
        grids = EVERYTHING.grid.makers(reader, ['/image'])
        work = BagSegmenter(reader, bag, GreySegmenter(), ['/image'], OUTPUTS, grids=grids)
        work.copy_originals()
        work.run()
    return out


def files_of(bag):
    return {file.name: file.read_bytes() for file in bag.iterdir() if file.name != FILE_NAME}


def merged(labeller, job, *starts):
    parts = [
        labeller.label_range(job, first, end)
        for first, end in zip(starts, [*starts[1:], None], strict=True)
    ]
    return labeller.merge(job, parts)


def test_bag_is_byte_for_byte_that_of_segment_bag(job, labeller, one_bag):
    labeller.label(job)
    assert files_of(job.out) == files_of(one_bag)


# Also with a range behind the end of the bag.
@pytest.mark.parametrize('starts', [(0, 1), (0, 3, 6, 9), range(12), (0, 12, 15)])
def test_merged_ranges_are_byte_for_byte_the_bag(job, labeller, one_bag, starts):
    merged(labeller, job, *starts)
    assert files_of(job.out) == files_of(one_bag)


def test_merged_ranges_have_the_counts_of_the_bag(tmp_path, job, labeller):
    whole = labeller.label(job)
    ranges = merged(labeller, replace(job, out=job.out.with_name('merged')), 0, 5, 9)
    for manifest in (whole, ranges):
        assert manifest['counts'].pop('seconds') > 0
    assert ranges['counts'] == whole['counts']
    assert whole['counts']['segmented'] == 8
    assert sum(whole['counts']['errors'].values()) == 2


def test_range_that_is_written_is_not_computed_again(job, labeller):
    before = labeller.label_range(job, 0, 5)
    changed_ns = before.path.stat().st_mtime_ns
    assert labeller.label_range(job, 0, 5) == before
    assert before.path.stat().st_mtime_ns == changed_ns
    assert labeller.label_range(job, 0, 6).path != before.path


def test_ranges_of_different_precisions_are_not_merged(monkeypatch, job, labeller):
    first = labeller.label_range(job, 0, 5)
    monkeypatch.setattr(GreySegmenter, 'precision', 'int8')
    with pytest.raises(BagError, match='by machines with different precisions or backends'):
        labeller.merge(job, [first, labeller.label_range(job, 5, None)])
    assert not job.out.exists()
    assert not first.path.exists()


def test_finished_bag_is_not_written_again(job, labeller):
    first = labeller.label(job)
    assert labeller.label(job) == first


def test_bag_that_another_run_finished_meanwhile_is_kept(job, labeller):
    manifests = []

    def meanwhile():
        if not manifests:
            manifests.append(labeller.label(job))

    assert labeller.label(job, meanwhile) == manifests[0]


def test_bag_without_good_frames_gets_no_name(tmp_path, labeller):
    bad = write_bag(tmp_path / 'bad', {'/image': [image(encoding='nonsense')]})
    labeller = Labeller(grey_assignment(tmp_path / 'out'))
    with pytest.raises(BagError, match='none of the 1 frames of the bag can be read'):
        labeller.label(BagJob(bad, tmp_path / 'out/bad'))
    assert not (tmp_path / 'out/bad').exists()


def test_error_that_is_no_gpus_keeps_its_traceback():
    with pytest.raises(RuntimeError, match=r'^a bug$'):
        reason_of(RuntimeError('a bug'))


def test_other_checkpoint_than_the_runs_is_refused(tmp_path):
    with pytest.raises(BagError, match='the checkpoint is other here, but c0ffeec0ffee where'):
        Labeller(grey_assignment(tmp_path, sha256='other'))
