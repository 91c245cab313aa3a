"""A run in which contenders take turns with scripts written by hand, block of steps by block of steps.

Both processes of a pair are there at the same time, and one of them is parked while the other computes
(`harness.worker.turns`). So nothing watches over them singly: what disturbs one disturbs the other as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.catalogue import Contender
from harness.execute.local import Process, Worker
from harness.execute.noise import Watch
from harness.execute.run import Run, Started
from harness.plan.jobs import PlannedJob
from harness.plan.overhead import BY_HAND, script
from harness.store import Record
from harness.worker.turns import FOLLOWS, LEADS


@dataclass(frozen=True, kw_only=True)
class Script(Process):
    """`SCRIPT DATA ORDER WEIGHTS THREADS STEPS BLOCKS MODE`, which prints as its last line, in JSON, the
    `seconds` of each block and the mean `loss` of the last. Its blocks are recorded as a worker's are.
    """

    words: tuple[str, ...]
    steps: int

    @property
    def command(self) -> list[str]:
        """In place of the worker's."""
        return [str(self.interpreter), "-m", "harness.worker.turns", *self.words]

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


@dataclass
class OverheadRun(Run):
    """Knows the scripts from the workers by their names. `ends` are for the processes about to start."""

    ends: list[tuple[int, int, str]] = field(default_factory=list)

    def _some(self, jobs: Iterable[PlannedJob], at_a_time: int) -> None:
        """A contender and its script at the same time, in turns; whichever has lost its partner alone."""
        for (kind, *_), found in groupby(jobs, lambda job: (job.kind, job.workload, job.entered, job.block)):
            if kind != "measure":
                super()._some(found, at_a_time)
                continue
            pair = [job for job in found if self._passes(job)]
            if len(pair) == 2:
                (one_reads, other_writes), (other_reads, one_writes) = os.pipe(), os.pipe()
                self.ends = [(one_reads, one_writes, LEADS), (other_reads, other_writes, FOLLOWS)]
            super()._some(pair, len(pair))

    def _start(self, job: PlannedJob, running: dict[Worker, Started]) -> None:
        ends = self.ends[0] if job.kind == "measure" and self.ends else None
        try:
            super()._start(job, running)
        finally:
            # Open in nobody but the processes, so that one that ends is found to be gone.
            if ends is not None:
                self.ends.remove(ends)
                for end in ends[:2]:
                    os.close(end)

    def _watch(self, job: PlannedJob) -> Watch | None:
        return None if job.kind == "measure" else super()._watch(job)

    def _process(self, job: PlannedJob, contender: Contender, interpreter: Path) -> Process:
        turns = self.ends[0] if job.kind == "measure" and self.ends else None
        if not job.contender.endswith(BY_HAND):
            return replace(super()._process(job, contender, interpreter), turns=turns)
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
        placed = replace(self._placed(job, contender, interpreter), turns=turns)
        return Script(**vars(placed), words=tuple(map(str, words)), steps=steps)

    def _passes(self, job: PlannedJob) -> bool:
        """A script also needs to know how many steps fill a block."""
        pilot = self._pilot(job)
        return super()._passes(job) and (
            not job.contender.endswith(BY_HAND) or (pilot is not None and pilot["status"] == "ok")
        )

    def _pilot(self, job: PlannedJob) -> Record | None:
        return self.records.get(PlannedJob("pilot", job.workload, job.entered, 0, 0).id)
