"""Image messages that atheris makes, by what they reach in the code that decodes them."""

import re
import subprocess
import sys
from random import Random

import pytest

pytest.importorskip('atheris', reason='atheris is not installed (pip install atheris)')

from test.helpers.hostile_messages import JPEGS, PNGS

pytestmark = pytest.mark.stress

# Of one message, and of all.
MAX_S = 20
MAX_RSS_MIB = 2048


def test_any_message_is_decoded_or_refused(times, report, tmp_path):
    corpus, log = tmp_path / 'corpus', tmp_path / 'log'
    corpus.mkdir()
    for number, data in enumerate([*JPEGS, *PNGS, *map(Random(0).randbytes, [300] * 20)]):
        (corpus / str(number)).write_bytes(data)
    runs = times(1_000_000)
    with log.open('wb') as output:
        fuzzed = subprocess.run(
            [
                *(sys.executable, '-m', 'test.helpers.fuzz_messages', corpus, f'-runs={runs}'),
                *('-seed=1', '-max_len=4096', f'-timeout={MAX_S}'),
                *(f'-rss_limit_mb={MAX_RSS_MIB}', f'-artifact_prefix={tmp_path}/'),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    printed = log.read_text(errors='replace')
    assert fuzzed.returncode == 0, printed[-3000:]
    branches, rss_mib = re.search(r'DONE +cov: (\d+) .* rss: (\d+)Mb', printed).groups()
    report(
        'image messages made by atheris, in a process of their own',
        runs,
        f'each decoded or refused; {branches} branches reached; at most {rss_mib} MiB',
    )
