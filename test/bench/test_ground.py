from fcn_road_seg.bench.ground import measure_ground
from fcn_road_seg.bench.report import ground_lines


def test_every_step_is_measured():
    figures = measure_ground((375, 1242))
    assert list(figures) == ['table', 'grid', 'corridor']
    for times_ms in figures.values():
        assert 0 < times_ms['least'] <= times_ms['q1'] <= times_ms['median'] <= times_ms['q3']
    assert figures['grid']['least'] < figures['table']['least']


def test_each_step_has_a_line_with_its_times():
    times_ms = {'least': 0.1, 'q1': 0.2, 'median': 0.25, 'q3': 1.5}
    report = {
        'frame': '375 x 1242',
        'ground': {'table': times_ms, 'grid': times_ms, 'corridor': times_ms},
    }
    empty, head, *lines = ground_lines(report)
    assert empty == ''
    assert head.split() == [
        'road',
        'from',
        'above,',
        '375',
        'x',
        '1242',
        'ms',
        'quartiles',
        'fastest',
    ]
    assert [line.split()[-5:] for line in lines] == [['0.250', '0.200', '..', '1.50', '0.100']] * 3
    assert [line.strip().split()[0] for line in lines] == ['table', 'grid', 'corridor']
