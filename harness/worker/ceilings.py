"""`python -m harness.worker.ceilings THREADS RESULT.json`: what this machine can do, by NumPy and its BLAS.

The best of several tries: a ceiling is what is possible, and what disturbs only lowers it. A multiplication
and an addition count one each: 2 n^3 for a product. A copy counts the bytes read and the bytes written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from time import perf_counter
from typing import Any

import numpy as np

from harness.worker.job import write_json

SIZE = 1536
"""Of the square matrices: 9 MiB each, some 0.1 s a product on one core."""
COPY_BYTES = 2**27
"""Larger than the caches."""
LIMIT_SECONDS = 0.4
LEAST_TRIES = 3


def ceilings(threads: int, size: int = SIZE, copy_bytes: int = COPY_BYTES) -> dict[str, Any]:
    """`matmul_flops_per_second` of a float32 product, `copy_bytes_per_second` of memory with `threads`."""
    random = np.random.Generator(np.random.PCG64(0))
    left, right = (random.standard_normal((size, size), np.float32) for _ in range(2))
    product = np.empty_like(left)
    source = np.ones(copy_bytes // 8)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))

    def copy() -> None:
        # NumPy copies without Python's lock.
        running = [Thread(target=np.copyto, args=part) for part in parts]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    matmul_seconds = _best_seconds(lambda: np.matmul(left, right, out=product))
    copy_seconds = _best_seconds(copy)
    return {
        "threads": threads,
        "matmul_size": size,
        "matmul_flops_per_second": 2 * size**3 / matmul_seconds,
        "copy_bytes": source.nbytes,
        "copy_bytes_per_second": 2 * source.nbytes / copy_seconds,
        "numpy": np.__version__,
        "blas": _blas(),
    }


def _best_seconds(call: Callable[[], Any]) -> float:
    call()
    tries: list[float] = []
    begun = perf_counter()
    while len(tries) < LEAST_TRIES or perf_counter() - begun < LIMIT_SECONDS:
        start = perf_counter()
        call()
        tries.append(perf_counter() - start)
    return min(tries)


def _blas() -> str | None:
    try:
        found = np.show_config(mode="dicts")
    except TypeError:  # NumPy 1.23 only prints it.
        return None
    blas = found["Build Dependencies"]["blas"]
    return f"{blas['name']} {blas['version']}"


def main() -> None:
    """Measure, and write the result."""
    write_json(Path(sys.argv[2]), {"status": "ok", "reason": None, **ceilings(int(sys.argv[1]))})


if __name__ == "__main__":
    main()
