"""Which contenders ran in the same environment, and what each found there."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.worker.settings import VARIABLES

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


@dataclass(frozen=True)
class Difference:
    """A setting, or a variable that all share, that contenders did not have alike: values by contender."""

    name: str
    values: dict[str, str]


def differences(environments: pd.DataFrame) -> list[Difference]:
    """Where a run's contenders differ in what is to be the same for all (`harness.worker.settings`).

    A setting is compared among the contenders that tell it; a variable, of the prefixes that are recorded
    for every contender, among all that tell any, "not set" where it was not.
    """
    recorded = environments.loc[environments["item"] == "variable", "contender"].unique()
    shared = environments["name"].str.startswith(VARIABLES)
    found = []
    for item, of_all in (("setting", True), ("variable", shared)):
        facts = environments[(environments["item"] == item) & of_all]
        for name, mine in facts.groupby("name"):
            values = {
                str(contender): ", ".join(sorted(set(said)))
                for contender, said in mine.groupby("contender")["value"]
            }
            if item == "variable":
                values = {str(contender): values.get(str(contender), "not set") for contender in recorded}
            if len(set(values.values())) > 1:
                found.append(Difference(str(name), values))
    return found


def _facts(facts: pd.DataFrame, item: str) -> Facts:
    chosen = facts[facts["item"] == item]
    return tuple(zip(chosen["name"], chosen["value"], strict=True))
