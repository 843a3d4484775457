"""The files that an evaluation writes; it never overwrites those of another."""

from __future__ import annotations

from pathlib import Path

from fcn_road_seg.utils.atomic_write import refuse_unwritable_folder

REPORT_NAME = 'report.json'
SUBMISSION_NAME = 'road_submission.zip'


def refuse_to_overwrite(path: Path) -> None:
    """Raise ValueError if the file `path` exists or cannot be written."""
    if path.exists():
        raise ValueError(f'{path} exists already; use another folder, or remove this one')
    refuse_unwritable_folder(path.parent)
