"""A backend is what its `backend.toml` says, and a contender's text means one thing."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import catalogue
from harness.catalogue import Contender
from harness.errors import UsageError

WHOLE = """
title = "Toy"
package = "toy"
python = "3.11"
default_mode = "plain"
devices = ["cpu"]

[modes.plain]
description = "as it is"

[modes.fast]
description = "faster"
variables = { TOY_FAST = "1" }

[environments.default]
cpu = "cpu.txt"
"""


def backend_folder(parent: Path, name: str = "toy", text: str = WHOLE) -> Path:
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "backend.toml").write_text(text)
    (folder / "cpu.txt").write_text("six==1.17.0\n")
    return folder


def test_the_repository_has_the_five_frameworks_and_their_default_modes() -> None:
    known = catalogue.backends()
    assert {name: known[name].default_mode for name in ("torch", "tensorflow", "keras", "jax", "mxnet")} == {
        "torch": "eager",
        "tensorflow": "function",
        "keras": "tensorflow",
        "jax": "jit",
        "mxnet": "hybrid",
    }


def test_every_requirement_of_the_repository_is_one_exact_pin_without_address_or_local_label() -> None:
    for backend in catalogue.backends().values():
        for lists in backend.environments.values():
            for file in lists.values():
                for line in file.read_text().splitlines():
                    name, _, version = line.partition("==")
                    assert line.startswith("#") or (name and version), f"{file}: {line}"
                    assert not set("+ @;/") & set(version), f"{file}: {line}"


def test_every_list_of_the_repository_pins_the_package_that_a_version_replaces() -> None:
    for backend in catalogue.backends().values():
        for lists in backend.environments.values():
            for file in lists.values():
                direct = file.read_text().partition("# transitive")[0]
                names = {line.partition("==")[0].partition("[")[0] for line in direct.splitlines()}
                assert names & set(backend.distributions), file


@pytest.mark.parametrize(
    ("text", "canonical", "mode", "version"),
    [
        ("torch", "torch", "eager", None),
        ("torch:eager", "torch", "eager", None),
        ("torch:compile", "torch:compile", "compile", None),
        ("torch==2.12.1", "torch==2.12.1", "eager", "2.12.1"),
        ("torch==2.12.1:compile", "torch==2.12.1:compile", "compile", "2.12.1"),
        ("keras:tensorflow", "keras", "tensorflow", None),
        (" jax:scan ", "jax:scan", "scan", None),
        ("mxnet:imperative", "mxnet:imperative", "imperative", None),
    ],
)
def test_a_contender_has_one_canonical_text(
    text: str, canonical: str, mode: str, version: str | None
) -> None:
    found = catalogue.contender(text)
    assert (str(found), found.mode.name, found.version) == (canonical, mode, version)


KNOWN = catalogue.backends()
CONTENDERS = st.builds(
    lambda pair, version: Contender(pair[0], pair[1], version),
    st.sampled_from([(backend, mode) for backend in KNOWN.values() for mode in backend.modes.values()]),
    st.none() | st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}(rc[0-9])?(\+[a-z0-9]+)?", fullmatch=True),
)


@given(CONTENDERS)
def test_reading_a_contenders_text_gives_the_contender_back(wanted: Contender) -> None:
    assert catalogue.contender(str(wanted), KNOWN) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pytorch", "Did you mean 'torch'?"),
        ("tensorflwo:xla", "Did you mean 'tensorflow'?"),
        ("torch:compiled", "unknown mode of torch 'compiled'. Did you mean 'compile'?"),
        ("torch:", "unknown mode of torch ''"),
        ("torch=2.9.1", "written with '=='"),
        ("torch==", "is not a version"),
        ("torch==new", "is not a version"),
        ("", "unknown backend ''"),
    ],
)
def test_a_wrong_contender_is_told_what_is_right(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        catalogue.contender(text)
    assert said in str(error.value)


def test_a_backend_outside_the_repository_is_found_through_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend_folder(tmp_path / "one", "toy")
    backend_folder(tmp_path / "two", "other")
    monkeypatch.setenv("ONESPEC_BACKENDS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    known = catalogue.backends()
    assert {"toy", "other", "torch"} <= known.keys()
    assert known["toy"].modes["fast"].variables == {"TOY_FAST": "1"}
    assert known["toy"].environments["default"]["cpu"] == tmp_path / "one/toy/cpu.txt"


def test_a_name_used_twice_is_refused_with_both_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backend_folder(tmp_path, "torch")
    monkeypatch.setenv("ONESPEC_BACKENDS", str(tmp_path))
    with pytest.raises(UsageError, match="two backends are called 'torch'") as error:
        catalogue.backends()
    assert str(folder) in str(error.value)


def test_the_variable_has_to_name_folders_that_hold_backends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONESPEC_BACKENDS", str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="is not a folder"):
        catalogue.backends()
    monkeypatch.setenv("ONESPEC_BACKENDS", str(backend_folder(tmp_path)))
    with pytest.raises(UsageError, match="name the folder that holds it"):
        catalogue.backends()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Toy"', "", "title: is missing"),
        ('title = "Toy"', "title = 3", "title: is a text, not 3"),
        ('title = "Toy"', 'title = " "', "title: is empty"),
        ('title = "Toy"', 'titel = "Toy"', "titel: is not a field. Did you mean 'title'?"),
        ('title = "Toy"', 'title = "Toy"\ncolour = "red"', "colour: unknown field 'colour'"),
        ('title = "Toy"', 'title = "Toy"\naliases = "toys"', "aliases: is a list of texts"),
        ('title = "Toy"', 'title = "Toy', "line 2"),
        ('"3.11"', '"eleven"', "python: is a version such as '3.11'"),
        (
            'default_mode = "plain"',
            'default_mode = "plane"',
            "default_mode: unknown mode 'plane'. Did you mean 'plain'",
        ),
        ('devices = ["cpu"]', 'devices = ["cuad"]', "Did you mean 'cuda'"),
        ('devices = ["cpu"]', "devices = []", "devices: is a list of texts, at least one"),
        ('devices = ["cpu"]', 'devices = ["cpu", "cpu"]', "devices: names something twice"),
        ('devices = ["cpu"]', 'devices = ["cpu", "cuda"]', "environments.default.cuda: is missing"),
        ('cpu = "cpu.txt"', 'cpu = "gone.txt"', "environments.default.cpu: names"),
        ('cpu = "cpu.txt"', 'cpu = "cpu.txt"\ncudaa = "x"', "environments.default.cudaa: unknown field"),
        ('description = "faster"', 'descripton = "faster"', "modes.fast.descripton: is not a field"),
        ('description = "faster"', 'description = "f"\nenvironment = "defualt"', "Did you mean 'default'"),
        ('TOY_FAST = "1"', "TOY_FAST = 1", "modes.fast.variables.TOY_FAST"),
        ('[modes.plain]\ndescription = "as it is"', "[modes]\nplain = 1", "modes.plain: is a table"),
    ],
)
def test_a_malformed_file_is_refused_with_the_file_and_the_field(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in WHOLE
    folder = backend_folder(tmp_path, text=WHOLE.replace(old, new, 1))
    with pytest.raises(UsageError) as error:
        catalogue.read(folder)
    assert str(folder / "backend.toml") in str(error.value)
    assert said in str(error.value)


def test_a_folder_whose_name_cannot_be_a_backends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="small letters"):
        catalogue.read(backend_folder(tmp_path, "My-Toy"))


FIELD_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(), st.booleans(), st.floats(), st.lists(st.integers(), max_size=2), st.dates()
)


@given(key=st.sampled_from(sorted(tomllib.loads(WHOLE))), value=FIELD_VALUES)
def test_no_wrongly_typed_field_gets_past_or_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: Any
) -> None:
    folder = backend_folder(tmp_path_factory.mktemp("backend"))
    text = str(value).lower() if isinstance(value, bool | float) else str(value)
    kept = [line for line in WHOLE.splitlines() if not line.startswith((f"{key} =", f"[{key}."))]
    (folder / "backend.toml").write_text("\n".join([f"{key} = {text}", *kept]))
    with pytest.raises(UsageError):
        catalogue.read(folder)
