from fcn_road_seg.evaluation.report import format_report

MASKS = {'iou': 0.5, 'f1': None, 'accuracy': 0.98765}


def test_figures_are_one_line_and_undefined_ones_are_named():
    assert list(format_report('own val', MASKS)) == [
        'own val: iou 0.5000, f1 undefined, accuracy 0.9877'
    ]


def test_each_category_of_a_view_is_one_line():
    nothing = {'max_f': None, 'threshold': None}
    view = {'um': {'max_f': 95.678, 'threshold': 128}, 'pooled': nothing}
    _, um, pooled = format_report('kitti', {**MASKS, 'birds_eye_view': view})
    assert um == '  birds_eye_view um: max_f 95.68, threshold 128'
    assert pooled == '  birds_eye_view pooled: max_f undefined, threshold undefined'


def test_what_p_road_is_worth_is_one_line():
    figures = {'calibration_error': 0.0123, 'best_threshold': 0.5, 'best_iou': None}
    _, line = format_report('camvid', {**MASKS, 'probability': figures})
    assert line == (
        '  p(road): calibration_error 0.0123, best_threshold 0.5000, best_iou undefined'
    )


def test_false_positives_are_in_percent_by_class():
    rates = {'sky': 0.0, 'pavement': 0.1234}
    _, line = format_report('camvid', {**MASKS, 'false_positive_rate_by_class': rates})
    assert line == '  taken for road: sky 0.0 %, pavement 12.3 %'


def test_change_under_stress_has_a_sign_and_may_be_undefined():
    stress = {'blur': {'iou': 0.25, 'change': -0.25}, 'shadows': {'iou': None, 'change': None}}
    _, blur, shadows = format_report('own', {**MASKS, 'stress': stress})
    assert blur == '  blur: iou 0.2500 (-0.2500)'
    assert shadows == '  shadows: iou undefined (undefined)'
