"""What `make lint` prints of known vulnerabilities, with a pip-audit that says what we want."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / '.ci/audit'
VULNERABLE = {'name': 'a', 'version': '1', 'vulns': [{'id': 'CVE-1', 'fix_versions': ['2']}]}
SOUND = {'name': 'b', 'version': '1', 'vulns': []}
UNKNOWN = {'name': 'c', 'skip_reason': 'not found'}


@pytest.mark.parametrize(
    ('program', 'lines'),
    [
        (
            f'import json; print(json.dumps({{"dependencies": {[VULNERABLE, SOUND, UNKNOWN]}}}))',
            ['1 known vulnerabilities in 2 packages, 1 not audited', 'a 1: CVE-1, fixed in 2'],
        ),
        (
            f'import json; print(json.dumps({{"dependencies": {[UNKNOWN]}}}))',
            ['skipped: the package index knows no vulnerability data (1 packages)'],
        ),
        ('raise OSError("no route to pypi.org")', ['skipped: OSError: no route to pypi.org']),
        ('', ['skipped: no output']),
    ],
)
def test_audit_prints_what_is_known_or_why_nothing_is(tmp_path, program, lines):
    (tmp_path / 'pip_audit.py').write_text(program)
    env = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    done = subprocess.run([sys.executable, AUDIT], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == [f'pip-audit: {line}' for line in lines]
    assert (done.returncode, done.stderr) == (0, '')
