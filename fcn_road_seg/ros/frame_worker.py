"""message -> array -> mask -> messages"""

from __future__ import annotations

WARNING_PERIOD_S = 5.0
