import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_road_seg.messages.one_line import one_line


@pytest.mark.parametrize(
    ('text', 'line'),
    [
        ('as it is', 'as it is'),
        ('two\nlines', 'two lines'),
        (' many  blanks\t\r\n\u2028', 'many blanks'),
        ('ends\0here', 'ends here'),
        ('lone \ud800 surrogate', 'lone surrogate'),
        ('\n', ''),
    ],
)
def test_text_becomes_one_line(text, line):
    assert one_line(text) == line


def test_longer_text_is_cut():
    assert one_line('x' * 9, 4) == 'xxxx'


@given(st.text(), st.none() | st.integers(0, 9))
def test_any_text_becomes_a_printable_line_that_utf8_encodes(text, max_characters):
    line = one_line(text, max_characters)
    assert line.isprintable()
    assert line.encode().decode() == line
    assert max_characters is None or len(line) <= max_characters
