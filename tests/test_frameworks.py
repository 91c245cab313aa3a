"""All five frameworks, every mode: proven on every word of the language, and faults in them are caught."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness import environments, paths
from harness.catalogue import Contender, backends, contender
from harness.execute.local import NOT_HANDED_ON
from tests import dropped
from tests.faults import FAULTS, PATCHES, attention, generation, layers, recurrent, training
from tests.proving_ground import PROGRAMS, write_job

DEFAULTS = [str(Contender(backend, backend.modes[backend.default_mode])) for backend in backends().values()]
OTHERS = [
    str(Contender(backend, mode))
    for backend in backends().values()
    for mode in backend.modes.values()
    if mode.name != backend.default_mode
]

EVERY_LAYER = [
    *("momentum", "branches", "pixels", "masks", "detector", "vectors", "duel"),
    *("gates", "padded", "masked", "tied", "tones", "portfolio", "answers", "translator"),
]
"""The programs that other modes prove: every layer, loss and kind of optimizer, clipping at work and at rest,
two updates, states and caches of generation. Compilers take their time: what else there is, is left to the
default modes."""

ANOTHERS_LAYERS = {
    "tensorflow:loop": "tensorflow:xla",
    "keras:tensorflow-steps": "keras",
    "keras:jax-steps": "keras:jax",
    "jax:scan": "jax",
    "mxnet:naive": "mxnet",
}
"""Modes that lower layers, losses and optimizers by the same code as another one, which proves them, and run
the step otherwise: many in a call, or by another engine."""

EVERY_STEP = ["momentum", "vectors", "duel", "tied", "decoder"]
"""What there is of steps for such modes to prove: layers' states, penalties, momentum, moments, a schedule,
clipping, two updates, tokens, decay, generation."""

PRECISIONS = ("float32", "float64")

Found = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Found]:
    """Runs `tests.faults` for a contender in its own environment."""
    folder = tmp_path_factory.mktemp("ground")

    def run(text: str, faults: bool) -> Found:
        who = contender(text)
        python = environments.create(who, "cpu").python
        jobs = [
            write_job(folder / name, PROGRAMS[name], backend=who.backend.folder, mode=who.mode.name)
            for name in (PROGRAMS if faults else programs_of(text))
        ]
        return proofs(who, folder, python, jobs, faults=faults)

    return run


def programs_of(text: str) -> list[str]:
    """What a mode that is not the default proves."""
    return EVERY_STEP if text in ANOTHERS_LAYERS else EVERY_LAYER


def proofs(who: Contender, folder: Path, python: Path, jobs: Iterable[Path], *, faults: bool) -> Found:
    """What `tests.faults` says of jobs, both precisions at once: compilers keep to one core."""
    words = [str(int(faults)), *map(str, jobs)]
    with ThreadPoolExecutor() as pool:
        found = list(
            pool.map(
                lambda precision: said(who, folder, python, "tests.faults", precision, *words), PRECISIONS
            )
        )
    return {title: {name: one[title][name] for one in found for name in one[title]} for title in found[0]}


def said(who: Contender, folder: Path, python: Path, *words: str) -> Any:
    """The last line that a module of the tests prints in a contender's environment."""
    finished = subprocess.run(
        [str(python), "-m", *words],
        cwd=paths.root(),
        env=variables(who, folder),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert finished.stdout.strip(), finished.stderr[-3000:]
    return json.loads(finished.stdout.splitlines()[-1])


def variables(who: Contender, folder: Path) -> dict[str, str]:
    """Of a process of the tests: one thread, since two run at a time; compiled modules are kept."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON}
    own = {name: value.replace("{cache}", str(folder)) for name, value in who.mode.variables.items()}
    return {**kept, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", **own}


def assert_proven(found: Found, names: Iterable[str]) -> None:
    for name in names:
        for precision, verdict in found[name].items():
            assert verdict["holds"], f"{name} in {precision}: {verdict}"


@pytest.mark.parametrize("text", DEFAULTS)
def test_the_default_mode_is_proven_and_every_planted_fault_is_caught(
    ground: Callable[[str, bool], Found], text: str
) -> None:
    found = ground(text, True)
    assert_proven(found, PROGRAMS)
    faults = {name: verdicts for name, verdicts in found.items() if name not in PROGRAMS}
    assert faults.keys() == {*FAULTS, *PATCHES}
    for precision in PRECISIONS:
        missed = [name for name, verdicts in faults.items() if verdicts[precision]["holds"]]
        assert not missed, f"the {precision} proof lets these faults pass"


def test_no_fault_hides_another_of_the_same_name() -> None:
    rooms = (attention, generation, layers, recurrent, training)
    titles = [title for room in rooms for title in room.FAULTS] + list(PATCHES)
    assert sorted(titles) == sorted({*FAULTS, *PATCHES})


@pytest.mark.parametrize("text", OTHERS)
def test_every_other_mode_is_proven(ground: Callable[[str, bool], Found], text: str) -> None:
    assert_proven(ground(text, False), programs_of(text))


def test_a_mode_that_proves_less_has_its_layers_proven_by_another() -> None:
    assert ANOTHERS_LAYERS.keys() <= set(OTHERS)
    assert set(ANOTHERS_LAYERS.values()) <= {*DEFAULTS, *OTHERS} - ANOTHERS_LAYERS.keys()


@pytest.mark.parametrize("text", [*DEFAULTS, *OTHERS])
def test_dropout_drops_at_its_rate_scales_the_rest_draws_anew_and_is_off_in_evaluation(
    text: str, tmp_path: Path
) -> None:
    who = contender(text)
    python = environments.create(who, "cpu").python
    found = said(who, tmp_path, python, "tests.dropped", str(who.backend.folder), who.mode.name)
    assert found["evaluation"] == 0.0
    shares = found["shares"]
    spread = math.sqrt(dropped.RATE * (1 - dropped.RATE) / (dropped.BATCH * dropped.WIDTH))
    kept = 1 - dropped.RATE
    assert abs(statistics.fmean(shares) - kept) < 5 * spread / math.sqrt(len(shares))
    # Masks that repeat have no spread; one mask for a whole batch has eight times as much.
    assert 0.6 < statistics.stdev(shares) / spread < 1.5
