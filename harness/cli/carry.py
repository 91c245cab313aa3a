"""Carrying out what was asked: from a request to a finished run, alike for every command that runs jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.interrupt import interruptible
from harness.errors import NothingMeasured, OnespecError, UsageError
from harness.execute.spent import Spent
from harness.store import Store

if TYPE_CHECKING:
    from harness.analyse.run import Run as Recorded
    from harness.cli.progress import Display
    from harness.execute.request import Request
    from harness.execute.run import Run
    from harness.plan.jobs import PlannedJob
    from harness.store import Record


class Interrupted(OnespecError):
    """The user stopped the run."""

    exit_code = 130


def reopen(folder: Path, command: str) -> Store:
    """The run in a folder, to be finished by the command that began it, on the machine where it began. Raises
    UsageError for another's.
    """
    from harness.execute.prepare import take_up

    store = Store.open(folder)
    began = store.made_by()
    if began != command:
        raise UsageError(f"{folder} is of another command; finish it with: onespec {began} --resume {folder}")
    take_up(store)
    return store


def carry_out(
    request: Request,
    work: Callable[[Run, Display, Spent], None],
    *,
    command: str,
    store: Store | None,
    out: Path | None,
    more: Mapping[str, Any] | None = None,
    runs: type[Run] | None = None,
) -> Run:
    """Prepare, let `work` run the jobs, and tidy up; gives the finished run.

    A new run's `run.json` has `more` than the request. `runs` is the kind of run where it is not the ordinary
    one. What is interrupted can be finished by the same `command` with --resume.
    """
    from harness.cli.progress import display
    from harness.data.shown import download_bars
    from harness.execute import prepare
    from harness.execute.run import Run, tidy

    spent = Spent()
    try:
        with download_bars() as downloads, spent.on("data"):
            data = prepare.data_of(request, downloads)
    except UsageError:
        raise
    except OnespecError as error:
        raise NothingMeasured(f"{error}\nNothing was measured.") from None
    if store is None:
        name = out.name if out else prepare.run_name(request)
        meta = {**prepare.meta_of(request, data, name), "made_by": command, **(more or {})}
        store = Store.create(out or prepare.results_folder() / name, meta)
    try:
        with interruptible() as check, store.locked(), display() as shown:
            with spent.on("environments"):
                entries = prepare.entries(request, shown.environment)
            with spent.on("inputs"):
                ready = prepare.ready(request, data, store, shown.step)

            def watch(job: PlannedJob, record: Record | None) -> None:
                check()
                shown.job(job, record)

            made = (runs or Run)(
                store, ready, entries, request.device, request.threads, request.protocol, watch
            )
            try:
                work(made, shown, spent)
            finally:
                spent.keep(store)
            tidy(store)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted. Finish with: onespec {command} --resume {store.folder}") from None
    return made


def report(store: Store, show: Callable[[Recorded], None]) -> Recorded:
    """Analyse a finished run, `show` it, write its report and say where that is; gives what was found."""
    from harness.analyse.run import load
    from harness.report import write

    spent = Spent()
    with spent.on("report"):
        found = load(store.folder)
        show(found)
        page = write([found], report_folder(store))
    spent.keep(store)
    print(f"\nrecords  {store.folder}\nreport   {page}")
    return found


def report_folder(store: Store) -> Path:
    """`reports/<run>` for a run in `results/`; beside the records for one that lies elsewhere."""
    from harness.execute.prepare import results_folder

    folder = store.folder.resolve()
    if folder.parent == results_folder():
        return folder.parent.parent / "reports" / folder.name
    return folder / "report"
