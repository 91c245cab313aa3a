"""One job as a process on this machine."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from harness import paths
from harness.worker.turns import VARIABLE

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Process:
    """How to start a job: its file, the interpreter, and the variables that its mode asks for.

    The worker writes its outcome to `result` and its output to `log`.
    """

    job_file: Path
    interpreter: Path
    variables: Mapping[str, str]
    threads: int
    result: Path
    log: Path
    time_limit_seconds: float
    turns: tuple[int, int, str] | None = None
    """Its ends of the pipes by which it takes turns with another process, and its role
    (`harness.worker.turns`)."""

    @property
    def given(self) -> dict[str, str]:
        """The variables that it is started with, besides the user's own."""
        return {**dict.fromkeys(THREAD_VARIABLES, str(self.threads)), **self.variables}

    @property
    def command(self) -> list[str]:
        """The command line, to be run in the checkout."""
        return [str(self.interpreter), "-m", "harness.worker", str(self.job_file)]

    def said(self) -> dict[str, Any] | None:
        """The outcome that the process has left; None where there is none that can be read."""
        return read_result(self.result)


@dataclass(frozen=True)
class Usage:
    """What an ended worker and all that it started have used, from the kernel's books (getrusage(2))."""

    cpu_seconds: float
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int


class Worker:
    """A job's process, started. Nothing here polls: `wait_any` sleeps until the kernel tells of an end.

    When it has ended, `usage` is there, and `harness_cpu_seconds`: this process's own CPU time meanwhile.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        self.start = perf_counter()
        self.popen: subprocess.Popen[bytes] | None = None
        self.ending: str | None = None
        self.usage: Usage | None = None
        self.harness_cpu_seconds = 0.0
        process.result.unlink(missing_ok=True)
        process.log.parent.mkdir(parents=True, exist_ok=True)
        with process.log.open("w") as log:
            try:
                self.popen = subprocess.Popen(
                    process.command,
                    cwd=paths.root(),
                    env=_environment(process),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=process.turns[:2] if process.turns else (),
                )
            except OSError as error:
                self.ending = f"broken: {error.strerror}"
        self._own_seconds = process_time()

    @property
    def seconds_left(self) -> float:
        """Until the time limit."""
        return self.start + self.process.time_limit_seconds - perf_counter()

    def stop(self, ending: str | None = None) -> None:
        """End the process with everything it started; `ending` says why, where that is not its exit code."""
        if self.popen is None or self.popen.returncode is not None:
            return
        self.harness_cpu_seconds = process_time() - self._own_seconds
        left_behind = _session_cpu_seconds(self.popen.pid)
        # The whole session: compilers that a framework started go with it.
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        # A worker that has ended by itself keeps its own exit code until now.
        _, status, used = os.wait4(self.popen.pid, 0)
        self.popen.returncode = os.waitstatus_to_exitcode(status)
        self.usage = Usage(
            used.ru_utime + used.ru_stime + left_behind,
            used.ru_nvcsw,
            used.ru_nivcsw,
            used.ru_minflt,
            used.ru_majflt,
        )
        self.ending = ending or str(self.popen.returncode)

    def outcome(self) -> dict[str, Any]:
        """What came of an ended job: `status`, `reason`, `wall_seconds` and what the worker said.

        A worker that died, hung or said nothing is an outcome too.
        """
        assert self.ending is not None
        seconds = perf_counter() - self.start
        said = self.process.said() if self.ending == "0" else None
        if said is None:
            said = {
                "proof": None,
                "measures": None,
                "environment": None,
                **_failure(self.ending, self.process),
            }
        return {**said, "wall_seconds": seconds}


def wait_any(workers: Sequence[Worker]) -> list[Worker]:
    """Sleep until at least one of `workers` has ended or has used up its time, and give those."""
    ended = [worker for worker in workers if worker.ending is not None]
    if ended:
        return ended
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        for worker in workers:
            assert worker.popen is not None
            descriptor = os.pidfd_open(worker.popen.pid)
            stack.callback(os.close, descriptor)
            selector.register(descriptor, selectors.EVENT_READ, worker)
        timeout = max(0.0, min(worker.seconds_left for worker in workers))
        ready = [key.data for key, _ in selector.select(timeout)]
    for worker in ready:
        worker.stop()
    late = [worker for worker in workers if worker not in ready and worker.seconds_left <= 0]
    for worker in late:
        worker.stop("timeout")
    return ready + late


def _session_cpu_seconds(session: int) -> float:
    """CPU time of the processes that a worker has started and left, which its own books do not show."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may hold anything: state, parent, group, session, ... (proc(5)).
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and file.parent.name != str(session):
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def read_result(path: Path) -> dict[str, Any] | None:
    """A worker's outcome, or None where it left none that can be read."""
    try:
        outcome = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return outcome if isinstance(outcome, dict) and "status" in outcome else None


NOT_HANDED_ON = frozenset({"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"})
"""Of the user's variables. What containers set to stay small, that Python keep no compiled modules, would
have it compile a framework's anew in every process: imports took two to four times as long.
"""


def _environment(process: Process) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in NOT_HANDED_ON and not name.startswith("UV_")
    }
    shared = {"PYTHONPATH": str(paths.root()), "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    turns = {VARIABLE: ",".join(map(str, process.turns))} if process.turns else {}
    return {**kept, **shared, **turns, **process.given}


def _failure(ending: str, process: Process) -> dict[str, str]:
    if ending == "timeout":
        reason = (
            f"no end after {process.time_limit_seconds:g} s (time_limit_seconds of the suite's [protocol])"
        )
        return {"status": "timeout", "reason": reason}
    if ending.startswith("broken"):
        reason = (
            f"{process.interpreter} does not start ({ending.removeprefix('broken: ')}); see: onespec doctor"
        )
        return {"status": "crashed", "reason": reason}
    if ending == str(-signal.SIGKILL):
        return {"status": "out-of-memory", "reason": "killed by the system, most likely for want of memory"}
    if ending.startswith("-"):
        name = signal.Signals(-int(ending)).name
        return {"status": "crashed", "reason": f"ended by {name}; its output is in {process.log.name}"}
    return {"status": "crashed", "reason": f"exit code {ending}: {_last_line(process.log)}"}


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
