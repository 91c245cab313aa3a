"""The reference's side of every proof, as many at a time as there are cores: plain NumPy is slow."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from threadpoolctl import threadpool_limits

from harness.errors import OnespecError
from harness.plan.proof_files import Due


def write_references(due: Mapping[str, Due], processes: int, tell: Callable[[str], None]) -> None:
    """Write what is not there yet, by workload, `processes` at a time. Raises OnespecError where one of them
    was killed, as a system does that has no memory left.
    """
    missing = {name: one for name, one in due.items() if not one.written}
    if len(missing) < 2:
        for name, one in missing.items():
            tell(f"{name}: computing the float64 reference")
            one.write()
        return
    tell(f"computing {len(missing)} float64 references")
    # No fork: this process has threads, which a fork would leave behind holding their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(missing)), context) as pool:
        try:
            pending = {pool.submit(_write, one): name for name, one in missing.items()}
            for count, future in enumerate(as_completed(pending), 1):
                future.result()
                tell(f"{pending[future]}: float64 reference {count} of {len(pending)}")
        except BrokenProcessPool:
            raise OnespecError(
                "a process that computed a float64 reference was killed, perhaps for want of memory: "
                "try again with --threads 1, or with a smaller proof_batch"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _write(due: Due) -> None:
    # The arrays are small, and the other cores have a reference each.
    with threadpool_limits(1):
        due.write()
