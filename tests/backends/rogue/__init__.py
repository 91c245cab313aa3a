"""One backend for each way to fail, built on the plain one."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.spec.program import Program
from harness.worker.backend import load_backend
from harness.worker.protocol import Built, Setting, Unsupported

plain = load_backend("plain", Path(__file__).parent.parent / "plain")


def build(program: Program, setting: Setting) -> Built:
    match setting.mode:
        case "crash":
            raise RuntimeError("the kernel launch failed\nand here is more")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "silent":
            os._exit(0)
        case "memory":
            raise MemoryError("Unable to allocate 3.00 PiB")
        case "unsupported":
            raise Unsupported("rogue.build refuses everything (version 0)")
        case "wrong":
            program = _faster(program)
    built = plain.build(program, setting)
    timed = "measure" in Path(sys.argv[1]).name
    if setting.mode == "late" and timed:
        raise RuntimeError("no more")
    if setting.mode == "diverge" and timed:
        built.mean_loss = _infinite
    return built


def _infinite(handle: Any) -> float:
    return float("inf")


def _faster(program: Program) -> Program:
    def change(update: Any) -> Any:
        rate = update.optimizer.learning_rate * 1.01
        return replace(update, optimizer=replace(update.optimizer, learning_rate=rate))

    return replace(program, updates=tuple(change(update) for update in program.updates))
