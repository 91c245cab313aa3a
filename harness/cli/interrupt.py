"""Stopping a run from outside: SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Within the block both signals raise KeyboardInterrupt; what it gives, called later, raises it again.

    Python drops an exception that is raised while it finalizes an object; the second call is for that.
    A signal that was ignored when the program began stays ignored.
    """
    asked = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, stop)
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
