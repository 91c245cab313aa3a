"""What this machine can do, measured once in a run, by a process of its own, for the run's `run.json`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.execute.local import Process, Worker, wait_any
from harness.execute.request import Request
from harness.store import Store

TIME_LIMIT_SECONDS = 60.0


@dataclass(frozen=True)
class Ceilings(Process):
    """The process that measures them, with this program's own NumPy."""

    @property
    def command(self) -> list[str]:
        """In place of a job's."""
        return [
            str(self.interpreter),
            "-m",
            "harness.worker.ceilings",
            str(self.threads),
            str(self.result),
        ]


def measure_ceilings(request: Request, store: Store) -> None:
    """Put `ceilings` into `run.json`, unless they are there or the suite does not want them."""
    if not request.protocol.ceilings or "ceilings" in store.meta():
        return
    store.amend({"ceilings": _measured(request, store)})


def _measured(request: Request, store: Store) -> dict[str, Any]:
    if request.device_kind != "cpu":
        return {"status": "unsupported", "reason": "not available: NumPy does not compute on a GPU"}
    result = store.work / "ceilings.json"
    process = Ceilings(
        result,
        Path(sys.executable),
        request.protocol.variables,
        request.threads,
        result,
        store.work / "logs" / "ceilings.log",
        TIME_LIMIT_SECONDS,
    )
    worker = Worker(process)
    try:
        (ended,) = wait_any([worker])
    finally:
        worker.stop()
    outcome = ended.outcome()
    unused = ("proof", "measures", "environment")
    return {name: value for name, value in outcome.items() if name not in unused}
