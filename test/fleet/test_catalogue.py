from pathlib import Path

import pytest

from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.catalogue import BagJob, find_bags, is_one_bag


@pytest.fixture
def drives(tmp_path):
    """Make a folder of files and folders that look like bags."""
    root = tmp_path / 'drives'
    names = [
        *('a/metadata.yaml', 'a/a.mcap', 'day/b/metadata.yaml', 'day/b/b_0.db3'),
        *('day/loose.mcap', 'day/notes.txt', 'killed/killed_0.mcap', '.trash/c/metadata.yaml'),
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(sources, out):
    return {job.out.relative_to(out): job.source for job in find_bags(sources, out)}


def test_folder_is_searched_and_its_tree_kept(tmp_path, drives):
    assert found([drives], tmp_path / 'out') == {
        Path('a'): drives / 'a',
        Path('day/b'): drives / 'day/b',
        Path('day/loose'): drives / 'day/loose.mcap',
        Path('killed'): drives / 'killed',
    }


def test_bags_are_named_after_themselves_and_sorted(tmp_path, drives):
    jobs = find_bags([drives / 'day/loose.mcap', drives / 'a'], tmp_path / 'out')
    assert jobs == [
        BagJob(drives / 'a', tmp_path / 'out/a'),
        BagJob(drives / 'day/loose.mcap', tmp_path / 'out/loose'),
    ]


def test_pattern_finds_bags_and_folders_of_bags(tmp_path, drives):
    assert set(found([drives / '[ad]*'], tmp_path)) == {Path('a'), Path('b'), Path('loose')}


def test_same_bag_given_twice_is_one(tmp_path, drives):
    assert len(find_bags([drives / 'a', drives, drives / 'a'], tmp_path / 'out')) == 4


def test_out_within_the_searched_folder_is_not_searched(drives):
    out = drives / 'masks'
    (out / 'a').mkdir(parents=True)
    (out / 'a/metadata.yaml').touch()
    assert Path('masks/a') not in found([drives], out)
    assert out / 'a' not in found([drives / '*'], out).values()


def test_link_to_a_folder_above_is_not_followed(tmp_path, drives):
    (drives / 'day/up').symlink_to(drives)
    assert len(find_bags([drives], tmp_path / 'out')) == 4


def test_links_to_bags_and_folders_are_followed_and_keep_their_names(tmp_path, drives):
    (tmp_path / 'picks').mkdir()
    (tmp_path / 'picks/monday').symlink_to(drives / 'a')
    (tmp_path / 'picks/tuesday').symlink_to(drives / 'day')
    assert found([tmp_path / 'picks'], tmp_path / 'out') == {
        Path('monday'): tmp_path / 'picks/monday',
        Path('tuesday/b'): tmp_path / 'picks/tuesday/b',
        Path('tuesday/loose'): tmp_path / 'picks/tuesday/loose.mcap',
    }


def test_two_links_to_bags_of_one_name_are_two_bags(tmp_path):
    for name in ('1', '2'):
        (tmp_path / name / 'rosbag2').mkdir(parents=True)
        (tmp_path / name / 'rosbag2/metadata.yaml').touch()
        (tmp_path / f'link{name}').symlink_to(tmp_path / name / 'rosbag2')
    links = [tmp_path / 'link1', tmp_path / 'link2']
    assert set(found(links, tmp_path / 'out')) == {Path('link1'), Path('link2')}


@pytest.mark.parametrize('source', ['', '*'])
def test_bag_that_a_link_leads_to_as_well_is_one(tmp_path, drives, source):
    before = found([drives / source], tmp_path / 'out')
    (drives / '1st').symlink_to(drives / 'a')
    (drives / 'a-new').symlink_to(drives / 'day')
    assert found([drives / source], tmp_path / 'out') == before


def test_out_among_the_sources_is_not_searched(drives):
    out = drives / 'masks'
    (out / 'a').mkdir(parents=True)
    (out / 'a/metadata.yaml').touch()
    # What a shell makes of drives/*.
    sources = sorted(path for path in drives.iterdir() if path.name[0] != '.')
    assert out in sources
    assert set(found(sources, out)) == {Path('a'), Path('b'), Path('loose'), Path('killed')}


def test_out_that_is_the_only_source_is_refused(drives):
    with pytest.raises(BagError, match='drives cannot be both IN and OUT; use another OUT'):
        find_bags([drives], drives)


def test_bag_in_the_place_of_its_own_masks_is_refused(drives):
    with pytest.raises(BagError, match=r'masks of .*/drives/a would get its own'):
        find_bags([drives / 'a', drives / 'killed'], drives)


def test_two_bags_of_one_name_are_refused(tmp_path, drives):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/metadata.yaml').touch()
    with pytest.raises(BagError, match=r'drives/a and .*/a would both become .*/out/a; give'):
        find_bags([drives, tmp_path / 'a'], tmp_path / 'out')


@pytest.mark.parametrize('source', ['empty', 'nothing*'])
def test_source_without_bags_is_refused(tmp_path, source):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(BagError, match=f'{source[:5]}.* has no bags'):
        find_bags([tmp_path / source], tmp_path / 'out')


def test_source_that_does_not_exist_is_refused(tmp_path, drives):
    expected = f'^{tmp_path}/drvies does not exist; give bags or folders of bags$'
    with pytest.raises(BagError, match=expected):
        find_bags([drives / 'a', tmp_path / 'drvies'], tmp_path / 'out')


@pytest.mark.parametrize(
    ('name', 'is_one'),
    [
        *(('a', True), ('killed', True), ('day/loose.mcap', True), ('absent', True)),
        *(('day', False), ('.', False), ('a*', False)),
    ],
)
def test_one_bag_is_told_from_many(drives, name, is_one):
    assert is_one_bag(drives / name) == is_one
