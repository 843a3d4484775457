"""OpenVINO without the report that its import sends over the network (to Google Analytics).

Whoever needs OpenVINO imports it from here.
"""

from __future__ import annotations

import sys

_REPORTER = 'openvino_telemetry'

# Where the reporter cannot be imported, OpenVINO has a stub of its own. Only while it is imported:
# what else runs in this process decides for itself.
_reports = _REPORTER not in sys.modules
if _reports:
    sys.modules[_REPORTER] = None  # type: ignore[assignment]
try:
    import openvino
    from openvino import opset13 as ops
finally:
    if _reports:
        del sys.modules[_REPORTER]

__all__ = ['openvino', 'ops']
