"""Environments are made once, honour the user's package settings, and are remade when they are broken."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import catalogue, environments
from harness.catalogue import Contender
from harness.environments import Environment, requirements
from harness.environments.settings import (
    pip_files,
    pip_options,
    settings,
    translate,
    uv_files,
    uv_options,
)
from harness.errors import OnespecError, UsageError
from tests.toy_backend import TOML, toy_backend


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The toy backend's folder."""
    return toy_backend(tmp_path, monkeypatch)


def heard() -> tuple[list[str], environments.Progress]:
    lines: list[str] = []
    return lines, lambda environment, line: lines.append(line)


# --- making -------------------------------------------------------------------------------------------------


def test_an_environment_is_made_on_first_use_and_found_afterwards(home: Path) -> None:
    toy = catalogue.contender("toy")
    assert not environments.expected(toy, "cpu").ready
    lines, progress = heard()
    made = environments.create(toy, "cpu", progress)
    assert made.ready
    assert lines[0] == "making"
    assert lines[-1] == "ready"
    assert environments.describe(made).packages == {"six": "1.17.0"}
    assert environments.describe(made).python.startswith("3.11.")
    lines, progress = heard()
    assert environments.create(toy, "cpu", progress) == made
    assert lines == []


def test_an_environment_whose_interpreter_is_gone_is_noticed_and_remade(home: Path) -> None:
    toy = catalogue.contender("toy")
    made = environments.create(toy, "cpu")
    made.python.unlink()
    made.python.symlink_to(home / "no-such-python")
    assert not environments.expected(toy, "cpu").ready
    remade = environments.create(toy, "cpu")
    assert subprocess.run([str(remade.python), "-c", "import six"], check=False).returncode == 0


def test_an_interrupted_environment_has_no_marker_and_is_remade(home: Path) -> None:
    toy = catalogue.contender("toy")
    folder = environments.expected(toy, "cpu").folder
    assert folder is not None
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "half").write_text("written before the interruption")
    assert not environments.expected(toy, "cpu").ready
    assert environments.create(toy, "cpu").ready
    assert not (folder / "lib" / "half").exists()


def test_an_unreadable_marker_counts_as_none(home: Path) -> None:
    toy = catalogue.contender("toy")
    made = environments.create(toy, "cpu")
    assert made.folder is not None
    (made.folder / "onespec-environment.json").write_text('{"python": ')
    assert not environments.expected(toy, "cpu").ready


def test_a_changed_requirement_list_makes_another_environment(home: Path) -> None:
    toy = catalogue.contender("toy")
    before = environments.create(toy, "cpu")
    (home / "cpu.txt").write_text("six==1.16.0\n")
    after = environments.expected(toy, "cpu")
    assert after.folder != before.folder
    assert not after.ready
    assert before in environments.list_environments(catalogue.backends(), ["cpu"])


def test_a_version_in_the_contender_makes_another_environment_with_that_version(home: Path) -> None:
    older = environments.create(catalogue.contender("toy==1.16.0"), "cpu")
    assert environments.describe(older).packages == {"six": "1.16.0"}
    assert older.folder != environments.expected(catalogue.contender("toy"), "cpu").folder
    assert older in environments.list_environments(catalogue.backends(), ["cpu"])


def test_modes_that_share_an_environment_have_it_made_once(home: Path) -> None:
    known = catalogue.backends()
    lines, progress = heard()
    pair = [catalogue.contender(text, known) for text in ("toy", "toy:same")]
    made = environments.create_all(pair, "cpu", progress)
    assert list(made) == ["toy", "toy:same"]
    assert made["toy"] == made["toy:same"]
    assert lines.count("making") == 1


def test_one_environment_that_fails_does_not_stop_the_others(home: Path) -> None:
    known = catalogue.backends()
    pair = [catalogue.contender(text, known) for text in ("toy==999.0", "toy")]
    made = environments.create_all(pair, "cpu")
    assert isinstance(made["toy==999.0"], OnespecError)
    assert isinstance(made["toy"], Environment)


def test_a_requirement_that_does_not_exist_gives_uvs_own_words_and_what_to_do(home: Path) -> None:
    (home / "cpu.txt").write_text("six==999.0\n")
    toy = catalogue.contender("toy")
    with pytest.raises(OnespecError) as error:
        environments.create(toy, "cpu")
    message = str(error.value)
    assert "toy (default, cpu)" in message
    assert "six==999.0" in message
    assert "onespec env create toy" in message
    assert "--python toy=" in message
    folder = environments.expected(toy, "cpu").folder
    assert folder is not None
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_is_said_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A file where the folder should be: permissions do not bind a superuser.
    (home / "file").write_text("")
    monkeypatch.setenv("ONESPEC_CACHE", str(home / "file"))
    with pytest.raises(OnespecError, match="set ONESPEC_CACHE"):
        environments.create(catalogue.contender("toy"), "cpu")


def create_in_another_process() -> None:
    environments.create(catalogue.contender("toy"), "cpu")


def test_two_processes_that_need_the_same_environment_both_get_it(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=create_in_another_process) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert environments.expected(catalogue.contender("toy"), "cpu").ready


def test_a_device_the_backend_is_not_for_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="toy does not run on 'cuda'"):
        environments.expected(catalogue.contender("toy"), "cuda")


def test_removing_deletes_the_folder_and_says_whether_there_was_one(home: Path) -> None:
    made = environments.create(catalogue.contender("toy"), "cpu")
    assert environments.remove(made)
    assert not environments.remove(made)
    assert not environments.expected(catalogue.contender("toy"), "cpu").ready
    with pytest.raises(OnespecError, match="onespec env create toy"):
        environments.describe(environments.expected(catalogue.contender("toy"), "cpu"))


def test_a_framework_is_asked_for_its_devices_and_a_failure_is_explained(home: Path) -> None:
    made = environments.create(catalogue.contender("toy"), "cpu")
    backend = catalogue.backends()["toy"]
    assert environments.devices(made, backend) == ["cpu 1.17.0"]
    next(made.python.parent.parent.glob("lib/*/site-packages/six.py")).unlink()
    with pytest.raises(OnespecError, match=r"No module named 'six'.*onespec env create toy"):
        environments.devices(made, backend)


# --- lists with another version -----------------------------------------------------------------------------


def test_a_version_replaces_the_pin_and_leaves_what_the_packages_bring_to_be_resolved() -> None:
    jax = catalogue.contender("jax==0.9.0")
    kept, freed = requirements.with_version(jax, "cpu")
    assert kept.splitlines() == ["jax==0.9.0", "flax==0.12.8", "optax==0.2.8", "numpy==2.4.6"]
    assert freed.splitlines() == ["jax==0.9.0", "flax", "optax", "numpy"]


def test_a_version_keeps_the_extras_of_the_pin_and_the_name_of_the_distribution() -> None:
    assert requirements.with_version(catalogue.contender("jax==0.9.0"), "cuda")[0].startswith(
        "jax[cuda13]==0.9.0\n"
    )
    assert requirements.with_version(catalogue.contender("tensorflow==2.20.0"), "cpu")[0].startswith(
        "tensorflow-cpu==2.20.0\n"
    )


def test_a_list_that_does_not_pin_the_package_cannot_take_a_version(home: Path) -> None:
    (home / "cpu.txt").write_text("attrs==25.1.0\n")
    with pytest.raises(OnespecError, match="no line pins six"):
        requirements.with_version(catalogue.contender("toy==1.16.0"), "cpu")


# --- interpreters the user names ----------------------------------------------------------------------------


def test_a_named_interpreter_is_used_as_it_is(home: Path) -> None:
    toy = catalogue.contender("toy")
    python = environments.create(toy, "cpu").python
    named = environments.parse_interpreters([f"toy={python}"])
    assert named == {"toy": python}
    with pytest.raises(UsageError, match="cannot import numpy"):
        environments.named(toy, named)
    assert environments.named(catalogue.contender("torch"), named) is None


def test_a_named_interpreter_has_to_have_the_package_and_the_version(home: Path) -> None:
    interpreters = environments.parse_interpreters([f"toy={sys.executable}"])
    (home / "backend.toml").write_text(TOML.replace('package = "six"', 'package = "numpy"'))
    assert environments.named(catalogue.contender("toy"), interpreters) == Path(sys.executable)
    with pytest.raises(UsageError, match="has numpy 2"):
        environments.named(catalogue.contender("toy==1.0"), interpreters)
    (home / "backend.toml").write_text(TOML.replace('package = "six"', 'package = "nowhere"'))
    with pytest.raises(UsageError, match="cannot import nowhere"):
        environments.named(catalogue.contender("toy"), interpreters)


def test_an_interpreter_may_be_named_for_one_contender_of_a_backend() -> None:
    here = sys.executable
    texts = [f"keras:jax={here}", f"torch==2.12.1={here}", f"keras={here}"]
    assert list(environments.parse_interpreters(texts)) == ["keras:jax", "torch==2.12.1", "keras"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("torch", "write it as BACKEND=PATH"),
        ("torch=", "write it as BACKEND=PATH"),
        ("torhc=/bin/sh", "Did you mean 'torch'?"),
        ("torch=/no/such/python", "is not an interpreter that can be run"),
    ],
)
def test_a_wrong_interpreter_is_told_what_is_right(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        environments.parse_interpreters([text])
    assert said in str(error.value)


def test_a_program_that_is_no_interpreter_is_refused() -> None:
    interpreters = environments.parse_interpreters(["torch=/bin/false"])
    with pytest.raises(OnespecError, match="/bin/false does not run"):
        environments.named(catalogue.contender("torch"), interpreters)


# --- the user's package settings ----------------------------------------------------------------------------


def pip_file(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pip.conf").write_text(text)
    return folder / "pip.conf"


def test_pips_files_are_read_weakest_first(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/named.conf"}
    files = pip_files(environ, system=Path("/etc"))
    assert files[:4] == [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        tmp_path / ".pip/pip.conf",
        tmp_path / ".config/pip/pip.conf",
    ]
    assert files[-2:] == [Path(sys.prefix) / "pip.conf", Path("/named.conf")]
    assert tmp_path / "x/pip/pip.conf" in pip_files({"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path / "x")})
    assert pip_files({"PIP_CONFIG_FILE": os.devnull}) == []


def test_a_variable_beats_install_and_install_beats_global_and_a_later_file_an_earlier(
    tmp_path: Path,
) -> None:
    first = pip_file(tmp_path / "a", "[global]\nindex-url = a\nproxy = a\n[install]\ncert = a\ntimeout = a\n")
    second = pip_file(tmp_path / "b", "[global]\nindex_url = b\ncert = b\ntimeout = b\n")
    options = pip_options({"PIP_TIMEOUT": "9", "PIP_INDEX_URL": ""}, [first, second])
    assert options == {"index-url": "b", "proxy": "a", "cert": "a", "timeout": "9"}


def test_a_file_pip_could_not_read_is_named(tmp_path: Path) -> None:
    file = pip_file(tmp_path, "index-url = no section\n")
    with pytest.raises(UsageError) as error:
        pip_options({}, [file])
    assert str(file) in str(error.value)


def test_what_pip_is_told_reaches_uv(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.write_text("")
    pip = {
        "index-url": "https://mirror.invalid/simple",
        "extra-index-url": "https://one.invalid/simple\nfile:///two/simple",
        "find-links": f"{tmp_path}/wheels\nhttps://links.invalid/ ~/more",
        "cert": str(certificate),
        "trusted-host": "one.invalid\ntwo.invalid",
        "proxy": "http://proxy.invalid:3128",
        "timeout": "60",
        "no-index": "true",
    }
    found = translate({"HOME": "/h"}, pip, ())
    assert found.variables == {
        "HOME": "/h",
        "UV_DEFAULT_INDEX": "https://mirror.invalid/simple",
        "UV_EXTRA_INDEX_URL": "https://one.invalid/simple file:///two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": f"{tmp_path}/wheels,https://links.invalid/,/h/more",
        "SSL_CERT_FILE": str(certificate),
        "UV_INSECURE_HOST": "one.invalid two.invalid",
        "UV_HTTP_TIMEOUT": "60",
        "HTTP_PROXY": "http://proxy.invalid:3128",
        "HTTPS_PROXY": "http://proxy.invalid:3128",
    }
    assert found.arguments == ("--no-index",)


def test_a_folder_of_certificates_is_passed_as_one(tmp_path: Path) -> None:
    assert translate({}, {"cert": str(tmp_path)}, ()).variables == {"SSL_CERT_DIR": str(tmp_path)}


def test_uvs_own_variable_wins_and_folders_of_wheels_are_joined() -> None:
    environ = {
        "UV_INDEX_URL": "https://uv.invalid/simple",
        "UV_INDEX": "https://uv-extra.invalid/simple",
        "UV_FIND_LINKS": "/uv/wheels",
        "SSL_CERT_FILE": "/uv.pem",
        "https_proxy": "http://uv.invalid",
    }
    pip = {
        "index-url": "https://pip.invalid/simple",
        "extra-index-url": "https://pip-extra.invalid/simple",
        "find-links": "/pip/wheels /uv/wheels",
        "cert": "/pip.pem",
    }
    assert translate(environ, pip, ()).variables == environ | {"UV_FIND_LINKS": "/uv/wheels,/pip/wheels"}


def test_the_users_index_strategy_is_left_alone() -> None:
    environ = {"UV_INDEX_STRATEGY": "first-index"}
    found = translate(environ, {"extra-index-url": "https://extra.invalid/simple"}, ())
    assert found.variables["UV_INDEX_STRATEGY"] == "first-index"
    found = translate({}, {"extra-index-url": "https://extra.invalid/simple"}, ["index-strategy"])
    assert "UV_INDEX_STRATEGY" not in found.variables


def test_what_uvs_own_file_sets_is_not_overridden(tmp_path: Path) -> None:
    file = tmp_path / "uv" / "uv.toml"
    file.parent.mkdir()
    file.write_text('index-url = "https://uv.invalid/simple"\n[pip]\nno-index = false\n')
    options = uv_options(uv_files({"XDG_CONFIG_HOME": str(tmp_path)}, system=tmp_path / "etc"))
    assert options == {"index-url", "pip", "no-index"}
    found = translate({}, {"index-url": "https://pip.invalid/simple", "no-index": "1"}, options)
    assert (found.variables, found.arguments) == ({}, ())


@given(
    st.dictionaries(
        st.sampled_from(["UV_DEFAULT_INDEX", "UV_HTTP_TIMEOUT", "PATH", "SSL_CERT_FILE"]), st.text()
    )
)
def test_without_pip_settings_the_environment_is_the_users_own(environ: dict[str, str]) -> None:
    assert translate(environ, {}, ()).variables == environ


@given(
    st.dictionaries(
        st.sampled_from(["UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INSECURE_HOST"]), st.text(min_size=1)
    ),
    st.dictionaries(st.sampled_from(["index-url", "extra-index-url", "trusted-host"]), st.text(min_size=1)),
)
def test_no_setting_of_uvs_is_ever_replaced(environ: dict[str, str], pip: dict[str, str]) -> None:
    assert translate(environ, pip, ()).variables.items() >= environ.items()


def test_the_settings_of_this_user_are_read_from_home_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_file(tmp_path / ".config" / "pip", "[global]\nfind-links = /from/file\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings().variables["UV_FIND_LINKS"] == "/from/file"
    monkeypatch.setenv("PIP_FIND_LINKS", "/from/variable")
    assert settings().variables["UV_FIND_LINKS"] == "/from/variable"


def test_pips_folder_of_wheels_is_really_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = home / "wheels"
    wheels.mkdir()
    write_wheel(wheels, "onespectoy", "1.0")
    (home / "cpu.txt").write_text("onespectoy==1.0\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(
        "PIP_CONFIG_FILE", str(pip_file(home, f"[global]\nno-index = yes\nfind-links = {wheels}\n"))
    )
    made = environments.create(catalogue.contender("toy"), "cpu")
    assert environments.describe(made).packages == {"onespectoy": "1.0"}


def write_wheel(folder: Path, name: str, version: str) -> None:
    import zipfile

    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(
            f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n"
        )


def test_an_environment_reads_well() -> None:
    backend = catalogue.backends()["keras"]
    contender = Contender(backend, backend.modes["jax"], "3.14.0")
    assert str(environments.expected(contender, "cpu")) == "keras==3.14.0 (jax, cpu)"
