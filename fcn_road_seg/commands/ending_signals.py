"""The signals that end a command: Ctrl-C, a request to end, and a terminal that is closed."""

from __future__ import annotations

import signal


def ending_signals() -> tuple[signal.Signals, ...]:
    """Return SIGINT, SIGTERM and, unless it is ignored, as under nohup, SIGHUP."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def interrupt_on_signals() -> None:
    """Have the other ending signals raise KeyboardInterrupt, as Python has SIGINT do.

    Their default would leave half-written files and child processes behind.
    """
    for number in ending_signals():
        # A script's background jobs ignore SIGINT.
        if number != signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
