"""The options that choose what to run, shared by the commands that run something."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.execute.request import Request


def configure(parser: argparse.ArgumentParser, default_suite: str | None = None) -> None:
    """Add the options."""
    parser.add_argument(
        "suite", nargs="?", default=default_suite, metavar="SUITE", help="a suite's name, or a suite file"
    )
    parser.add_argument(
        "-b",
        "--contender",
        action="append",
        dest="contenders",
        metavar="CONTENDER",
        help="backend[==version][:mode]; may be repeated; in place of the suite's list",
    )
    parser.add_argument(
        "-w",
        "--workload",
        action="append",
        dest="workloads",
        metavar="WORKLOAD",
        help="with its variants; may be repeated",
    )
    parser.add_argument(
        "--size",
        default="cpu",
        metavar="SIZE",
        help="cpu, or one that the suite gives: tiny, gpu (default: cpu)",
    )
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu, gpu or cuda:N (default: cpu)")
    parser.add_argument("--threads", type=_at_least(1), metavar="N", help="default: every core given to us")
    parser.add_argument(
        "--seed", type=_at_least(0), default=0, metavar="N", help="the first seed (default: 0)"
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where data sets' files are: DIR/NAME/FILE (nuclei: DIR/dsb2018-nuclei/FILE) or DIR/FILE; "
        "what is not there is downloaded, if it is offered",
    )
    parser.add_argument(
        "--python",
        action="append",
        dest="interpreters",
        metavar="BACKEND=PATH",
        help="an interpreter that has the framework, in place of an environment of ours; may be repeated",
    )


def read(arguments: argparse.Namespace, **more: Any) -> Request:
    """The request that the options make, with `more` of what `harness.execute.request.request` takes.

    Raises UsageError for whatever is wrong in them.
    """
    from harness.execute.request import request

    if arguments.suite is None:
        from harness.plan.suite import suite_names

        raise UsageError(f"which suite? There is {', '.join(suite_names())}.")
    return request(
        arguments.suite,
        contenders=arguments.contenders,
        workload_names=arguments.workloads,
        size=arguments.size,
        device=arguments.device,
        threads=arguments.threads,
        seed=arguments.seed,
        data_dir=arguments.data_dir,
        interpreters=arguments.interpreters,
        **more,
    )


def check_device(request: Request) -> None:
    """Raise UsageError where a GPU is asked for and the machine shows none."""
    from harness import machine

    if request.device_kind == "cuda" and machine.describe()["gpu"] is None:
        raise UsageError("this machine shows no GPU (nvidia-smi finds none); use --device cpu")


def _at_least(least: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {number}")
        return number

    return convert
