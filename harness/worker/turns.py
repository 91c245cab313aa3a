"""Two processes that take turns: each runs a block of steps while the other one is parked.

What a shared machine does from second to second befalls both alike, and cancels in the ratio of
neighbouring blocks. The first turn of each is all that it does until it is warm: beside another's import a
worker would find out wrongly how many steps fill a block. Turns go through two pipes, whose ends a process
is told by a variable; without it, or when the other process has ended, every turn is its own.

`python -m harness.worker.turns SCRIPT ...` runs a script that knows nothing of this: it is parked where it
reads its clock at the end of a block.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
import time
from pathlib import Path

VARIABLE = "ONESPEC_TURNS"
"""The descriptors to read from and to write to, and `leads` for the process whose turn is the first."""
LEADS, FOLLOWS = "leads", "follows"
SETTLE_SECONDS = 0.005
"""Before a turn is handed over: the threads of pools spin for a moment when there is nothing left to do."""
WARM_UP_BLOCKS = 2
"""Of a script, which it does not report, and runs whoever's turn it is."""


class Turns:
    """This process's side of taking turns."""

    def __init__(self, told: str | None) -> None:
        self.ends: tuple[int, int] | None = None
        self.holds = False
        if told:
            read, write, role = told.split(",")
            self.ends = int(read), int(write)
            self.holds = role == LEADS
            for end in self.ends:
                os.set_inheritable(end, False)

    @property
    def alone(self) -> bool:
        """Whether every turn is this process's."""
        return self.ends is None

    def begin(self) -> None:
        """Sleep until this process's first turn; the leader has it from the start."""
        if not self.holds:
            self.next()

    def next(self) -> None:
        """Hand over the turn, if this process has it, and sleep until it is this one's again."""
        if self.ends is None:
            return
        read, write = self.ends
        try:
            if self.holds:
                time.sleep(SETTLE_SECONDS)
                os.write(write, b".")
            self.holds = bool(os.read(read, 1))
        except BrokenPipeError:
            self.holds = False
        if not self.holds:
            self.ends = None


@functools.cache
def own() -> Turns:
    """This process's, as the variable says, which compilers that are started from here do not see."""
    return Turns(os.environ.pop(VARIABLE, None))


def main() -> None:
    """Run the script that the command line names, with the words after it."""
    turns = own()
    turns.begin()
    script = sys.argv[1]
    clock, readings = time.perf_counter, 0

    def perf_counter() -> float:
        nonlocal readings
        now = clock()
        if sys._getframe(1).f_code.co_filename != script:
            return now
        readings += 1
        if readings % 2 == 0 and readings >= 2 * WARM_UP_BLOCKS:
            turns.next()
        return now if readings % 2 == 0 else clock()

    time.perf_counter = perf_counter
    sys.argv = sys.argv[1:]
    # As if Python had been given the script.
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
