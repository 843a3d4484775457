import pytest

from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.labeller import Labeller, Outcome, Progress
from fcn_road_seg.fleet.run import segment_bags
from fcn_road_seg.fleet.staging import FOLDER
from test.helpers.fleet import contents, jobs_of, write_drives
from test.helpers.grey_segmenter import grey_assignment


@pytest.fixture
def assignment(tmp_path):
    return grey_assignment(tmp_path / 'out')


@pytest.fixture
def jobs(tmp_path):
    return jobs_of(write_drives(tmp_path / 'drives', 3), tmp_path / 'out')


@pytest.fixture
def work(assignment):
    """Do jobs one after another in this process; `work.done` lists them."""
    labeller = Labeller(assignment)

    def work(todo):
        for job in todo:
            work.done.append(job)
            yield Progress(job, 1)
            try:
                yield Outcome(job, labeller.label(job))
            except BagError as error:
                yield Outcome(job, error=str(error))

    work.done = []
    return work


def test_bags_and_frames_are_counted(assignment, jobs, work):
    counts = segment_bags(assignment, jobs, work)
    assert (counts.written, counts.skipped, counts.failures) == (3, 0, {})
    assert (counts.segmented, counts.bad, counts.missing) == (12, 0, 0)
    assert len(contents(assignment.out)) == 3


def test_finished_bags_are_skipped(assignment, jobs, work):
    segment_bags(assignment, jobs[:2], work)
    work.done.clear()
    counts = segment_bags(assignment, jobs, work)
    assert work.done == jobs[2:]
    assert (counts.written, counts.skipped, counts.segmented) == (1, 2, 4)


def test_failures_have_their_reasons_and_the_others_are_done(assignment, jobs, work):
    (jobs[0].source / 'metadata.yaml').unlink()
    jobs[1].out.mkdir(parents=True)
    counts = segment_bags(assignment, jobs, work)
    assert counts.written == 1
    first, second = sorted(counts.failures.items())
    assert first[0] == str(jobs[0].source)
    assert 'is not a readable rosbag2' in first[1]
    assert second[0] == str(jobs[1].source)
    assert 'drive_01 exists, but without a readable segment_bag.json' in second[1]
    # What is not ours is not touched.
    assert list(jobs[1].out.iterdir()) == []


def test_only_what_may_have_passed_is_to_be_run_again(assignment, jobs, work):
    (jobs[0].source / 'metadata.yaml').write_text('nonsense')
    gone = jobs[1].source / 'gone.mcap'
    gone.symlink_to('nowhere')
    counts = segment_bags(assignment, jobs, work)
    assert counts.written == 1
    unreadable, absent = counts.failures[str(jobs[0].source)], counts.failures[str(jobs[1].source)]
    assert unreadable.endswith('; give the folder of a bag, or a .mcap or .db3 file')
    expected = f"No such file or directory: '{gone}'; fix that and run the command again"
    assert absent.endswith(expected)


def test_reason_that_is_not_a_bags_ends_the_run(assignment, jobs):
    def work(todo):
        yield Outcome(todo[0], error='no network', is_fatal=True)
        raise AssertionError('goes on')

    with pytest.raises(BagError, match='no network'):
        segment_bags(assignment, jobs, work)


def test_one_display_shows_bags_and_frames_of_all(assignment, jobs, work, capsys):
    segment_bags(assignment, jobs, work)
    last = capsys.readouterr().err.splitlines()[-1].split('\r')[-1]
    assert 'segment_bag: 100%' in last
    assert '3/3' in last
    assert '12 frames, 0 failed' in last


def test_ranges_of_finished_bags_are_removed(assignment, jobs, work):
    labeller = Labeller(assignment)
    for job in jobs[:2]:
        labeller.label_range(job, 0, 2)
    # As after a kill between the last rename and the removal.
    labeller.label(jobs[0])
    segment_bags(assignment, jobs, work)
    assert not (assignment.out / FOLDER).exists()
