"""A run: the jobs of a plan in their order, through the gate of the proof, one record each."""

from __future__ import annotations

import datetime
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from threadpoolctl import threadpool_limits

from harness import hazards, score
from harness.catalogue import Contender
from harness.execute.local import Process, Worker, wait_any
from harness.execute.noise import Noise, Watch
from harness.plan.jobs import KINDS, TIMED, Kind, PlannedJob
from harness.plan.suite import ProtocolTable
from harness.plan.workloads import Inputs, Workload
from harness.score.case import Case, ScoreError
from harness.score.pictures import path_of
from harness.spec.codec import encode
from harness.store import SCHEMA, Record, Store, superseded
from harness.worker.job import SCHEMA as JOB_SCHEMA
from harness.worker.job import Job, JobBackend, Protocol, write_json

Watcher = Callable[[PlannedJob, Record | None], None]
"""Told of each job twice: as it starts (no record yet) and with its record."""

SIDE_BY_SIDE = 2
"""Other jobs at a time on the CPU: a proof or a memory pass leaves most of a core idle, and which pass runs
beside which is drawn anew in each round. An accelerator has one job at a time, whatever it is: there are
frameworks that take most of its memory at their first use, and nothing would be left for a second one.
"""

SHARING = {"OMP_WAIT_POLICY": "passive"}
"""Variables of jobs that share the cores. Threads that spin while they wait take the core that the others
wait for: beside an importing process the 50 steps of a memory pass took 3 to 12 s in place of 0.12.
"""

PADDING = "ONESPEC_PADDING"
PADDING_BYTES = 4096
"""A variable of every process, of a length below this that is drawn anew for each. How long the variables
and the words of a command line are moves what else is in memory, and so the time and memory of a program
that does not look at them (Mytkowicz et al. 2009, "Producing wrong data without doing anything obviously
wrong!"): a contender and its twin, whose name is longer, differed by 0.6 MiB in every pass of a run, in the
next the other way round.
"""

REPEATED_SHARE = 0.25
"""Of a run's timed jobs so many are run again at most: repeating does not help where all are disturbed."""


@dataclass(frozen=True)
class Entry:
    """A contender with the interpreter it runs in, or the status and reason of its having none."""

    contender: Contender
    interpreter: Path | None
    status: str = "ok"
    reason: str | None = None


@dataclass(frozen=True)
class Started:
    """A job that runs: since when, and what watches the machine if it is timed."""

    job: PlannedJob
    at: str
    watch: Watch | None


@dataclass(frozen=True)
class Ready:
    """A workload with its files and its fingerprint."""

    workload: Workload
    inputs: Inputs
    fingerprint: str


@dataclass
class Run:
    """Everything that stays the same from job to job, and each job's last record so far."""

    store: Store
    ready: Mapping[str, Ready]
    entries: Mapping[str, Entry]
    device: str
    threads: int
    protocol: ProtocolTable
    watch: Watcher = lambda job, record: None
    records: dict[str, Record] = field(default_factory=dict)
    repeats_left: int = 0

    def execute(self, jobs: Iterable[PlannedJob], kinds: Iterable[Kind] = KINDS) -> None:
        """Run every job that has no record that counts, except those of a contender that is not proven.

        A timed job that something disturbed is run again at once, so that it stays among those of its block;
        another one that found no memory left beside its neighbour is run again by itself. Their earlier
        records say that they are superseded. An interrupt ends the workers that run and goes on
        up; what is recorded stays.
        """
        jobs = list(jobs)
        recorded = self.store.records()
        self.records = {record["job"]: record for record in recorded}
        timed = sum(job.kind in TIMED for job in jobs)
        repeated = sum(superseded(record) for record in recorded if record["kind"] in TIMED)
        self.repeats_left = math.ceil(REPEATED_SHARE * timed) - repeated
        left = [found for job in jobs if (found := self._left(job)) is not None]
        for kind in kinds:
            self._some([job for job in left if job.kind == kind], self._at_a_time(kind))

    def _at_a_time(self, kind: Kind) -> int:
        return SIDE_BY_SIDE if kind not in TIMED and self.device == "cpu" else 1

    def _left(self, job: PlannedJob) -> PlannedJob | None:
        """The job as it is still to be run; None where it is done."""
        record = self.records.get(job.id)
        if record is None:
            return job
        return replace(job, attempt=record["attempt"] + 1) if superseded(record) else None

    def _some(self, jobs: Iterable[PlannedJob], at_a_time: int) -> None:
        running: dict[Worker, Started] = {}
        waiting = list(jobs)
        try:
            while waiting or running:
                while waiting and len(running) < at_a_time and not self._keeps_out(waiting[0], running):
                    job = waiting.pop(0)
                    if self._passes(job):
                        self._start(job, running)
                if running:
                    for worker in wait_any(list(running)):
                        started = running.pop(worker)
                        noise = started.watch.noise(worker) if started.watch else None
                        record = self._record(started, worker.outcome(), noise)
                        if superseded(record):
                            waiting.insert(0, replace(started.job, attempt=started.job.attempt + 1))
        finally:
            for worker, started in running.items():
                worker.stop()
                if started.watch:
                    started.watch.stop()

    @staticmethod
    def _keeps_out(job: PlannedJob, running: Mapping[Worker, Started]) -> bool:
        """Whether the job must wait for those that run: a further attempt has no neighbour."""
        return bool(running) and any(other.attempt for other in (job, *[s.job for s in running.values()]))

    def _passes(self, job: PlannedJob) -> bool:
        """The gate: only a contender that is proven to compute the spec is measured."""
        if job.kind == "verify":
            return True
        proof = self.records.get(PlannedJob("verify", job.workload, job.entered, 0).id)
        return proof is not None and proof["status"] == "ok"

    def _start(self, job: PlannedJob, running: dict[Worker, Started]) -> None:
        self.watch(job, None)
        started = Started(job, _now(), None)
        entry = self.entries[job.entered]
        if entry.interpreter is None:
            self._record(started, _without_worker(entry.status, entry.reason), None)
            return
        process = self._process(job, entry.contender, entry.interpreter)
        finished = process.said()
        if finished is not None:
            # The run was interrupted between the worker's end and its record.
            self._record(started, {**finished, "wall_seconds": None}, None)
            return
        running[Worker(process)] = replace(started, watch=self._watch(job))

    def _watch(self, job: PlannedJob) -> Watch | None:
        return Watch(self.device) if job.kind in TIMED else None

    def _process(self, job: PlannedJob, contender: Contender, interpreter: Path) -> Process:
        """The job's process, with the file that it reads."""
        process = self._placed(job, contender, interpreter)
        outputs = self._outputs(job)
        if outputs is not None:
            outputs.parent.mkdir(exist_ok=True)
        write_json(process.job_file, encode(self._job(job, contender, process)))
        return process

    def _placed(self, job: PlannedJob, contender: Contender, interpreter: Path) -> Process:
        folder = self.store.work / "jobs"
        folder.mkdir(exist_ok=True)
        stem = _stem(job)
        # Neither proofs nor a pilot nor a twin warm the compile cache that the first measurement finds cold.
        # A memory pass finds it as the proof left it, a further entry's as its original's did.
        whose, what = (job.contender, job.kind) if job.kind in TIMED else (job.entered, "proof")
        cache = self.store.work / "cache" / whose.replace(":", "-") / what
        cache.mkdir(parents=True, exist_ok=True)
        own = contender.mode.variables
        return Process(
            folder / f"{stem}.json",
            interpreter,
            {
                PADDING: "x" * Random(f"{job.seed}/{stem}").randrange(PADDING_BYTES),
                **(SHARING if self._at_a_time(job.kind) > 1 else {}),
                **self.protocol.variables,
                **{name: text.replace("{cache}", str(cache)) for name, text in own.items()},
            },
            self.threads,
            folder / f"{stem}.result.json",
            self.store.work / "logs" / f"{stem}.log",
            self.protocol.time_limit_seconds,
        )

    def _job(self, job: PlannedJob, contender: Contender, process: Process) -> Job:
        ready = self.ready[job.workload]
        spec = ready.workload.spec
        outputs = self._outputs(job)
        return Job(
            schema=JOB_SCHEMA,
            job=job.id,
            kind="measure" if job.kind == "pilot" else job.kind,
            backend=JobBackend(contender.backend.name, str(contender.backend.folder.resolve())),
            mode=contender.mode.name,
            device=self.device,
            threads=self.threads,
            program=spec.program,
            batch_size=ready.workload.proof_batch_size if job.kind == "verify" else ready.workload.batch_size,
            metrics=spec.metrics,
            data=ready.inputs.files(),
            weights=str(ready.inputs.weights(job.seed).resolve()),
            order=str(ready.inputs.order(job.seed).resolve()),
            proof=str(ready.inputs.proof.resolve()),
            protocol=Protocol(
                warmup_seconds=self.protocol.warmup_seconds,
                block_seconds=self.protocol.block_seconds,
                train_blocks=self.protocol.train_blocks,
                evaluate_passes=self.protocol.evaluate_passes,
                learn=job.learn,
                curve_points=self.protocol.curve_points,
                latency_batches=self.protocol.latency_batches,
                latency_seconds=self.protocol.latency_seconds,
                subnormals=self.protocol.subnormals,
                affinity=self.protocol.affinity,
                gc=self.protocol.gc,
            ),
            result=str(process.result.resolve()),
            variables=process.given,
            outputs=None if outputs is None else str(outputs.resolve()),
            planted=job.planted,
            left=None if outputs is None else score.outputs_wanted(spec),
            generate=None if outputs is None else score.generating(spec, ready.workload.test_examples),
        )

    def _outputs(self, job: PlannedJob) -> Path | None:
        """Where the worker leaves the outputs for the test split, if somebody is to look at them."""
        if not job.learn or not score.wanted(self.ready[job.workload].workload.spec):
            return None
        return self.store.work / "outputs" / f"{_stem(job)}.npz"

    def _scored(self, job: PlannedJob, outcome: Mapping[str, Any]) -> Mapping[str, Any]:
        """The outcome with the scores that the worker could not compute. Of the first block's outputs some
        examples are kept. A score that cannot be had is a failure of the job.
        """
        outputs = self._outputs(job)
        if outputs is None or outcome["status"] != "ok":
            return outcome
        ready = self.ready[job.workload]
        spec = ready.workload.spec
        meta = ready.inputs.data.meta
        classes, vocabulary = tuple(meta["classes"]), tuple(meta.get("vocabulary", ()))
        try:
            case = Case.read(spec, outputs, ready.inputs.files(), classes, vocabulary)
            # BLAS's threads would spin on beside the worker that comes next.
            with threadpool_limits(1):
                found = score.scores(case)
                if job.block == 0:
                    score.keep(case, path_of(self.store.folder, job.workload, job.contender), job.seed)
        except ScoreError as error:
            return {**outcome, "status": "crashed", "reason": str(error)}
        learning = outcome["measures"]["learning"]
        learning = {**learning, "test": {**learning["test"], **found}}
        return {**outcome, "measures": {**outcome["measures"], "learning": learning}}

    def _record(self, started: Started, outcome: Mapping[str, Any], noise: Noise | None) -> Record:
        job = started.job
        outcome = self._scored(job, outcome)
        steady = (outcome["measures"] or {}).get("steady")
        found = [] if noise is None else hazards.disturbances(noise, steady)
        disturbed = (
            outcome["status"] == "ok"
            and hazards.spoiled(found)
            and job.attempt < self.protocol.repeats
            and self.repeats_left > 0
        )
        self.repeats_left -= disturbed
        crowded = outcome["status"] == "out-of-memory" and job.attempt == 0 and self._at_a_time(job.kind) > 1
        again = disturbed or crowded
        record: Record = {
            "schema": SCHEMA,
            "job": job.id,
            "kind": job.kind,
            "workload": job.workload,
            "fingerprint": self.ready[job.workload].fingerprint,
            "contender": job.contender,
            "device": self.device,
            "threads": self.threads,
            "block": job.block,
            "turn": job.turn,
            "seed": job.seed,
            "attempt": job.attempt,
            "planted": encode(job.planted),
            "superseded": again,
            "status": outcome["status"],
            "reason": outcome["reason"],
            "started": started.at,
            "wall_seconds": outcome["wall_seconds"],
            "spent": outcome.get("spent"),
            "environment": outcome["environment"],
            "proof": outcome["proof"],
            "measures": outcome["measures"],
            "noise": None if noise is None else noise.as_data(),
            "warnings": [asdict(hazard) for hazard in found],
        }
        self.store.append(record)
        outputs = self._outputs(job)
        if outputs is not None:
            outputs.unlink(missing_ok=True)
        self.records[job.id] = record
        self.watch(job, record)
        return record


def tidy(store: Store) -> None:
    """Remove what a finished run no longer needs and what is large: the frameworks' compile caches."""
    shutil.rmtree(store.work / "cache", ignore_errors=True)


def _stem(job: PlannedJob) -> str:
    """The job's name as that of a file, another one for each attempt."""
    again = f"__again{job.attempt}" if job.attempt else ""
    return job.id.replace("/", "__").replace(":", "-") + again


def _without_worker(status: str, reason: str | None) -> dict[str, Any]:
    nothing = dict.fromkeys(("environment", "proof", "measures"))
    return {"status": status, "reason": reason, "wall_seconds": 0.0, **nothing}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
