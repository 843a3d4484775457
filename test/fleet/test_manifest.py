import pytest

from fcn_road_seg.bags.typestore import BagError
from fcn_road_seg.fleet.catalogue import BagJob
from fcn_road_seg.fleet.manifest import FILE_NAME, Request, read_manifest, write_manifest


@pytest.fixture
def job(tmp_path):
    (tmp_path / 'in').write_bytes(b'12345')
    return BagJob(tmp_path / 'in', tmp_path / 'bag')


@pytest.fixture
def asked(job):
    return Request('abc', {'threshold': 0.5, 'input': (32, 96)}).of(job)


@pytest.fixture
def bag(job, asked):
    job.out.mkdir()
    (job.out / 'bag.mcap').write_bytes(b'123')
    write_manifest(job.out, asked, {'counts': {'segmented': 7}})
    return job.out


def test_manifest_has_request_counts_and_sizes(bag, asked):
    manifest = read_manifest(bag, asked)
    assert manifest['checkpoint_sha256'] == 'abc'
    assert manifest['options'] == {'threshold': 0.5, 'input': [32, 96]}
    assert manifest['input'] == {'name': 'in', 'bytes': 5}
    assert manifest['counts'] == {'segmented': 7}
    assert manifest['files'] == {'bag.mcap': 3}


def test_input_of_a_folder_is_the_size_of_its_files(tmp_path):
    (tmp_path / 'in').mkdir()
    for name in ('a', 'b'):
        (tmp_path / 'in' / name).write_bytes(b'123')
    # What is in folders there, such as OUT, is not the bag's.
    (tmp_path / 'in/out').mkdir()
    (tmp_path / 'in/out/c').write_bytes(b'123')
    asked = Request('abc', {}).of(BagJob(tmp_path / 'in', tmp_path / 'bag'))
    assert asked['input'] == {'name': 'in', 'bytes': 6}


def test_no_bag_has_no_manifest(tmp_path, asked):
    assert read_manifest(tmp_path / 'absent', asked) is None


def test_bag_of_another_origin_is_refused(job, asked):
    job.out.mkdir()
    with pytest.raises(BagError, match=f'bag exists, but without a readable {FILE_NAME}'):
        read_manifest(job.out, asked)


@pytest.mark.parametrize(
    ('sha256', 'threshold', 'size', 'difference'),
    [
        ('def', 0.5, 5, 'checkpoint_sha256: abc, now def'),
        ('abc', 0.6, 5, 'options threshold: 0.5, now 0.6'),
        ('abc', 0.5, 6, 'input bytes: 5, now 6'),
    ],
)
def test_bag_of_another_request_is_refused(job, bag, sha256, threshold, size, difference):
    job.source.write_bytes(b'1' * size)
    other = Request(sha256, {'threshold': threshold, 'input': (32, 96)}).of(job)
    with pytest.raises(BagError, match=f'is from another run .{difference}.; remove it'):
        read_manifest(bag, other)


@pytest.mark.parametrize('content', [None, b'12'])
def test_bag_that_is_not_whole_is_refused(bag, asked, content):
    (bag / 'bag.mcap').unlink()
    if content is not None:
        (bag / 'bag.mcap').write_bytes(content)
    with pytest.raises(BagError, match=r'bag\.mcap is missing or not 3 bytes long; remove'):
        read_manifest(bag, asked)
