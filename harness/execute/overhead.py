"""A run in which some entries are scripts written by hand, in processes of their own like the worker's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.catalogue import Contender
from harness.execute.local import Process
from harness.execute.run import Run
from harness.plan.jobs import PlannedJob
from harness.plan.overhead import BY_HAND, script
from harness.store import Record


@dataclass(frozen=True)
class Script(Process):
    """`SCRIPT DATA ORDER WEIGHTS THREADS STEPS BLOCKS MODE`, which prints as its last line, in JSON, the
    `seconds` of each block and the mean `loss` of the last. Its blocks are recorded as a worker's are.
    """

    words: tuple[str, ...]
    steps: int

    @property
    def command(self) -> list[str]:
        """In place of the worker's."""
        return [str(self.interpreter), *self.words]

    def said(self) -> dict[str, Any] | None:
        """The last line of its output as an outcome."""
        try:
            said = json.loads(self.log.read_text(errors="replace").splitlines()[-1])
            seconds, loss = said["seconds"], float(said["loss"])
        except (OSError, LookupError, TypeError, ValueError):
            return None
        blocks = [{"steps": self.steps, "seconds": second, "warmup": False} for second in seconds]
        measures = {"train_blocks": blocks, "last_block_loss": loss}
        return {"status": "ok", "reason": None, "environment": None, "proof": None, "measures": measures}


class OverheadRun(Run):
    """Knows the scripts from the workers by their names."""

    def _process(self, job: PlannedJob, contender: Contender, interpreter: Path) -> Process:
        if not job.contender.endswith(BY_HAND):
            return super()._process(job, contender, interpreter)
        inputs = self.ready[job.workload].inputs
        pilot = self._pilot(job)
        assert pilot is not None
        steps = next(one["steps"] for one in pilot["measures"]["train_blocks"] if not one["warmup"])
        words = (
            script(job.workload, contender.backend.name),
            inputs.data.folder,
            inputs.order(job.seed).resolve(),
            inputs.weights(job.seed).resolve(),
            self.threads,
            steps,
            self.protocol.train_blocks,
            contender.mode.name,
        )
        placed = self._placed(job, contender, interpreter)
        return Script(**vars(placed), words=tuple(map(str, words)), steps=steps)

    def _passes(self, job: PlannedJob) -> bool:
        """A script also needs to know how many steps fill a block."""
        pilot = self._pilot(job)
        return super()._passes(job) and (
            not job.contender.endswith(BY_HAND) or (pilot is not None and pilot["status"] == "ok")
        )

    def _pilot(self, job: PlannedJob) -> Record | None:
        return self.records.get(PlannedJob("pilot", job.workload, job.entered, 0, 0).id)
