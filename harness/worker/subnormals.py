"""Subnormal numbers (below 1.2e-38 in float32), on which a processor is many times slower.

Adam's first moments reach them after some 700 steps without a gradient. Some frameworks flush them to zero in
their own threads and others do not: left alone, they would be timed at different work.
"""

from __future__ import annotations

import ctypes
import platform

import numpy as np

FLUSH = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}
"""By machine: the 32-bit word of glibc's fenv_t, and its bits (FTZ and DAZ of mxcsr; FZ of fpcr)."""


def flush() -> None:
    """Flush subnormals to zero in this thread and in every thread that it starts from now on.

    Threads that exist already keep their mode: call it before a framework is imported. Raises RuntimeError
    where this machine is not known.
    """
    machine = platform.machine()
    if machine not in FLUSH or platform.system() != "Linux":
        raise RuntimeError(
            f"how to flush subnormals is not known for {platform.system()} on {machine}; "
            'set subnormals = "default" in the suite\'s [protocol]'
        )
    word, bits = FLUSH[machine]
    environment = (ctypes.c_uint32 * 8)()
    libm = ctypes.CDLL("libm.so.6")
    libm.fegetenv(environment)
    environment[word] |= bits
    libm.fesetenv(environment)


def flushed() -> bool:
    """Whether this thread flushes them."""
    return bool(np.float32(1e-38) * np.float32(0.5) == 0)
