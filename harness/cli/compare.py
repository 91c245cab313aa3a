"""`onespec compare`: two recorded runs, what changed beyond noise."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from harness.cli import amounts
from harness.cli.recorded import load_run

if TYPE_CHECKING:
    from harness.analyse.compare import Rule

HELP = "compare two runs, such as two versions of a framework: what changed beyond noise"
EXAMPLE = "onespec compare results/before results/after --fail-on 'slower>5%'"

_BETWEEN_NAMES = re.compile(r"(?<!=)=(?!=)")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("first", metavar="A", help="a run's name, or its folder")
    parser.add_argument("second", metavar="B", help="the run that is compared with A (with --match A itself)")
    parser.add_argument(
        "--match",
        type=_pair,
        action="append",
        default=[],
        metavar="X=Y",
        help="compare contender X of A with contender Y of B, as in torch==2.12.1=torch, and no others than "
        "those so named; may be repeated (default: those of the same name)",
    )
    parser.add_argument(
        "--other-hardware",
        action="store_true",
        help="the runs' hardware differs, and that is what is compared",
    )
    parser.add_argument(
        "--fail-on",
        type=_rule,
        action="append",
        default=[],
        metavar="RULE",
        help="exit with 1 where B is surely worse by more than a share of A: slower>5%%, memory>10%%, or "
        "worse>1%% (the metric); with 3 where the runs leave it open; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and hold what was found to the rules."""
    from rich.console import Console

    from harness.analyse.compare import answer, between
    from harness.report.between import as_json, print_between

    first, second = load_run(arguments.first), load_run(arguments.second)
    found = between(first, second, arguments.match, other_hardware=arguments.other_hardware)
    answers = [answer(found, rule) for rule in arguments.fail_on]
    codes = {each.exit_code for each in answers} or {3 if found.table.empty else 0}
    code = 1 if 1 in codes else max(codes)
    if arguments.json:
        print(as_json(found, answers, code))
    else:
        print_between(found, answers, Console())
    return code


def _pair(text: str) -> tuple[str, str]:
    """`X=Y`, where a contender's version is written with two equals signs."""
    names = _BETWEEN_NAMES.split(text)
    if len(names) != 2 or not all(names):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not name two contenders; write it as in torch=jax or torch==2.12.1=torch"
        )
    return names[0], names[1]


def _rule(text: str) -> Rule:
    from harness.analyse.compare import RULES, Rule

    word, sign, limit = text.replace(" ", "").partition(">")
    if word not in RULES or not sign:
        known = ", ".join(f"{name}>5%" for name in RULES)
        raise argparse.ArgumentTypeError(f"{text!r} is not a rule; there is {known}")
    return Rule(word, amounts.share(limit))
