"""`python -m harness.worker JOB.json`: run one job and write what came of it."""

from __future__ import annotations

from harness.worker.memory import memory_bytes

START_BYTES = memory_bytes("resident")
"""Before NumPy, before anything else: the interpreter alone."""

from time import perf_counter  # noqa: E402

_before = perf_counter()
import numpy  # noqa: E402, F401

NUMPY_SECONDS = perf_counter() - _before
"""Every framework imports NumPy: where it was not loaded before, this is a part of their own imports."""

import ctypes  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from harness.worker import settings, turns  # noqa: E402
from harness.worker.backend import load_backend  # noqa: E402
from harness.worker.job import Job, write_json  # noqa: E402
from harness.worker.measure import Diverged, exercise, measure  # noqa: E402
from harness.worker.planted import loaded  # noqa: E402
from harness.worker.protocol import Unsupported  # noqa: E402
from harness.worker.verify import prove, verdict  # noqa: E402

MEMORY_STEPS = 50
"""Training steps of the memory pass."""


def run(job: Job) -> dict[str, Any]:
    """The outcome of a job: status, reason, environment, proof or measures, and on what time was spent."""
    nothing = dict.fromkeys(("reason", "proof", "measures", "spent"))
    outcome: dict[str, Any] = {"status": "ok", **nothing}
    prefixes = settings.VARIABLES
    ran = None
    # As the user and the harness have set them: some frameworks set more on import.
    given = dict(os.environ)
    try:
        settings.apply(job.protocol, job.threads)
        _held = loaded(job.planted)
        start = perf_counter()
        backend = load_backend(job.backend.name, Path(job.backend.folder))
        loaded_seconds = perf_counter() - start
        import_seconds = NUMPY_SECONDS + loaded_seconds
        # To look for the little garbage of an import takes longer than to build a small model.
        settings.settle(job.protocol, collect=False)
        build = backend.build
        prefixes += getattr(backend, "VARIABLES", ())
        if job.kind == "verify":
            outcome["proof"] = prove(job, build)
            outcome["reason"] = verdict(outcome["proof"])
            outcome["status"] = "failed" if outcome["reason"] else "ok"
        elif job.kind == "memory":
            import_bytes = memory_bytes("resident")
            outcome["measures"] = {
                "start_bytes": START_BYTES,
                "import_bytes": import_bytes,
                **exercise(job, build, MEMORY_STEPS),
            }
        else:
            outcome["measures"] = {"import_seconds": import_seconds, **measure(job, build)}
        work_seconds = perf_counter() - start - loaded_seconds
        outcome["spent"] = {"import_seconds": import_seconds, "work_seconds": work_seconds}
        ran = backend
    except Unsupported as error:
        outcome.update(status="unsupported", reason=str(error))
    except Diverged as error:
        outcome.update(status="diverged", reason=str(error))
    except Exception as error:
        traceback.print_exc()
        outcome.update(status=_kind_of(error), reason=_one_line(error))
    outcome["environment"] = _environment(prefixes, given, settings.found(ran))
    return outcome


def _kind_of(error: Exception) -> str:
    # Each framework has its own class for it, and all say it in these words.
    exhausted = isinstance(error, MemoryError) or any(
        words in str(error).lower()
        for words in ("out of memory", "resource_exhausted", "can't allocate memory")
    )
    return "out-of-memory" if exhausted else "crashed"


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"[:500]


def _environment(
    prefixes: tuple[str, ...], given: dict[str, str], in_force: dict[str, Any]
) -> dict[str, Any]:
    # Every process pays for an import above; frameworks bring this one along.
    import importlib.metadata

    packages = {
        distribution.metadata["Name"]: distribution.version
        for distribution in importlib.metadata.distributions()
    }
    # Of a path its last part is enough: where a folder lies on this machine changes nothing.
    variables = {
        name: f".../{Path(value).name}" if value.startswith("/") else value
        for name, value in sorted(given.items())
        if name.startswith(prefixes)
    }
    return {
        "python": platform.python_version(),
        "packages": packages,
        "variables": variables,
        "settings": in_force,
    }


def _end_with_parent() -> None:
    """Have the kernel end this process when the harness dies: nobody would wait for its result (prctl(2))."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def main() -> None:
    """Read the job, run it, write its result."""
    _end_with_parent()
    job = Job.read(Path(sys.argv[1]))
    if not job.variables.items() <= os.environ.items():
        # Run by hand: libraries that are loaded already have read their variables.
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **job.variables})
    turns.own().begin()
    write_json(Path(job.result), run(job))
    # Frameworks' own threads can hang or crash on the way out; what had to be said is on disk.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
