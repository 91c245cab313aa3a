"""Which contenders ran in the same environment, and what each found there."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Environment:
    """Contenders with the same Python, packages, variables and settings. `variables` has the settings too,
    and leaves out what is common to all.
    """

    contenders: tuple[str, ...]
    python: str
    packages: Facts
    variables: Facts


def group(environments: pd.DataFrame) -> tuple[list[Environment], Facts]:
    """The distinct environments of a run, and the variables and settings that every contender had alike."""
    found = {
        str(contender): {
            "python": _facts(facts, "python"),
            "package": _facts(facts, "package"),
            "variable": _facts(facts, "variable") + _facts(facts, "setting"),
        }
        for contender, facts in environments.groupby("contender")
    }
    variables = [set(facts["variable"]) for facts in found.values()]
    common = set.intersection(*variables) if variables else set()
    sharing: dict[tuple[Facts, Facts, Facts], list[str]] = {}
    for contender, facts in found.items():
        own = tuple(fact for fact in facts["variable"] if fact not in common)
        sharing.setdefault((facts["python"], facts["package"], own), []).append(contender)
    grouped = [
        Environment(tuple(contenders), ", ".join(value for _, value in python), packages, own)
        for (python, packages, own), contenders in sharing.items()
    ]
    return grouped, tuple(sorted(common))


def _facts(facts: pd.DataFrame, item: str) -> Facts:
    chosen = facts[facts["item"] == item]
    return tuple(zip(chosen["name"], chosen["value"], strict=True))
