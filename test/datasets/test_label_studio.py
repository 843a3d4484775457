import json

import numpy as np
import pytest

from fcn_road_seg.datasets.frames import DatasetError
from fcn_road_seg.datasets.label_folder import atomic_label_folder
from fcn_road_seg.datasets.label_rle import decode_mask
from fcn_road_seg.datasets.label_studio import LabelStudioFolder
from fcn_road_seg.datasets.splits import find_frames
from fcn_road_seg.utils.picture import encode_png

HW = (20, 30)


def frame_and_mask(seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (*HW, 3), np.uint8), rng.integers(0, 2, HW, np.uint8) * 255


@pytest.fixture
def root(tmp_path):
    """A folder of three frames, in the second of which nothing is road."""
    with atomic_label_folder(tmp_path / 'my set', LabelStudioFolder) as folder:
        for number in range(3):
            frame_bgr, mask = frame_and_mask(number)
            folder.add(f'f{number}', encode_png(frame_bgr), '.png', mask * (number != 1))
    return tmp_path / 'my set'


def accepted(root):
    """Return the tasks as Label Studio exports them when all predictions were accepted."""
    tasks = json.loads((root / 'tasks.json').read_text())
    return [
        {
            'id': number,
            'data': task['data'],
            'annotations': [
                {'id': 7, 'was_cancelled': False, 'result': task['predictions'][0]['result']}
            ],
        }
        for number, task in enumerate(tasks)
    ]


def export(root, tasks):
    (root / 'labels.json').write_text(json.dumps(tasks))


def test_task_has_the_address_and_the_mask_of_its_frame(root):
    task, empty, _ = json.loads((root / 'tasks.json').read_text())
    assert task['data'] == {'image': '/data/local-files/?d=my%20set/images/f0.png'}
    assert (root / 'images/f0.png').is_file()
    (prediction,) = task['predictions']
    assert prediction['model_version'] == 'fcn_road_seg'
    (region,) = prediction['result']
    value = region.pop('value')
    mask = decode_mask(bytes(value.pop('rle')), HW)
    assert np.array_equal(mask, frame_and_mask(0)[1])
    assert value == {'format': 'rle', 'brushlabels': ['road']}
    assert region == {
        'id': 'road0',
        'type': 'brushlabels',
        'from_name': 'label',
        'to_name': 'image',
        'original_width': HW[1],
        'original_height': HW[0],
        'image_rotation': 0,
    }
    assert empty['predictions'][0]['result'] == []


def test_names_in_the_tasks_are_those_of_the_labelling_interface(root):
    config = (root / 'label_config.xml').read_text()
    (region,) = json.loads((root / 'tasks.json').read_text())[0]['predictions'][0]['result']
    assert f'<BrushLabels name="{region["from_name"]}" toName="{region["to_name"]}">' in config
    assert f'<Image name="{region["to_name"]}" value="$image"' in config
    assert f'<Label value="{region["value"]["brushlabels"][0]}"' in config


def test_accepted_masks_are_read_back_as_they_were(root):
    export(root, accepted(root)[::-1])
    found = find_frames(root, 'all')
    assert [frame.name for frame in found] == ['f0', 'f1', 'f2']
    for number, frame in enumerate(found):
        frame_bgr, mask = frame_and_mask(number)
        frame_rgb, label = frame.load()
        assert np.array_equal(frame_rgb, frame_bgr[..., ::-1])
        assert np.array_equal(label, mask // 255 * (number != 1))


def test_corrected_mask_is_that_of_the_last_annotation_and_all_its_regions(root):
    tasks = accepted(root)
    drawn = tasks[0]['annotations'][0]['result'] + tasks[2]['annotations'][0]['result']
    tasks[1]['annotations'].append({'result': drawn})
    export(root, tasks)
    _, label = find_frames(root, 'all')[1].load()
    assert np.array_equal(label * 255, frame_and_mask(0)[1] | frame_and_mask(2)[1])


def test_frames_that_nobody_labelled_or_that_were_skipped_are_left_out(root):
    tasks = accepted(root)
    tasks[0]['annotations'] = []
    tasks[1]['annotations'][0]['was_cancelled'] = True
    export(root, tasks)
    assert [frame.name for frame in find_frames(root, 'all')] == ['f2']


def test_frame_that_was_uploaded_is_found_behind_its_number(root):
    tasks = accepted(root)[:1]
    tasks[0]['data']['image'] = '/data/upload/3/0a1b2c3d-f0.png'
    export(root, tasks)
    assert [frame.name for frame in find_frames(root, 'all')] == ['f0']


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda task: task['data'].update(image='/x/g.png'), 'has g.png, which is not in '),
        (lambda task: task.pop('annotations'), 'is not an export of Label Studio as JSON'),
        (lambda task: task.update(annotations=['x']), 'is not an export of Label Studio as JSON'),
        (
            lambda task: task['annotations'][0]['result'][0].update(type='polygonlabels'),
            'has a region of type polygonlabels for f0.png; only brush masks with the label road',
        ),
    ],
)
def test_export_that_does_not_fit_is_refused(root, change, reason):
    tasks = accepted(root)
    change(tasks[0])
    export(root, tasks)
    with pytest.raises(DatasetError, match=rf'^[^(]*labels.json {reason}'):
        find_frames(root, 'all')


def test_damaged_mask_is_named_by_its_frame(root):
    tasks = accepted(root)
    del tasks[0]['annotations'][0]['result'][0]['value']['rle'][20:]
    export(root, tasks)
    frame = find_frames(root, 'all')[0]
    with pytest.raises(DatasetError, match=r'f0.png: its label is damaged \(its run lengths'):
        frame.load()


def test_folder_without_its_export_says_how_to_get_it(root):
    with pytest.raises(DatasetError, match=r'labels.json does not exist; export the labels from'):
        find_frames(root, 'all')


@pytest.mark.parametrize(
    ('where', 'key', 'value'),
    [
        *(('region', 'original_height', value) for value in (20.0, '20', None, True, [20], 0)),
        *(('region', 'original_height', value) for value in (-20, 10**9, 10**30)),
        *(('value', 'rle', value) for value in (10**10, 10**30, 5, 'abc', None, {})),
    ],
)
def test_region_of_wrong_numbers_is_refused_with_its_file(root, where, key, value):
    tasks = accepted(root)
    (region,) = tasks[0]['annotations'][0]['result']
    (region if where == 'region' else region['value'])[key] = value
    export(root, tasks)
    with pytest.raises(DatasetError, match=r'labels\.json is not an export .* export it again'):
        find_frames(root, 'all')


def test_deeply_nested_export_is_refused_with_its_file(root):
    (root / 'labels.json').write_text('[' * 200_000)
    with pytest.raises(DatasetError, match=r'labels\.json is not an export .* export it again'):
        find_frames(root, 'all')
