"""Which backends there are, what their modes are called, and what a contender's text means.

A backend is a folder with a `backend.toml`. The harness knows nothing of a framework but what that file says.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import UsageError, unknown

FILE = "backend.toml"
DEVICE_KINDS = ("cpu", "cuda")
DEFAULT_ENVIRONMENT = "default"

_BACKEND_NAME = re.compile(r"[a-z][a-z0-9_]*")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON = re.compile(r"3\.[0-9]+")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!_-]*")


@dataclass(frozen=True)
class Mode:
    """One way to execute within a backend.

    `environment` is the key of the environment it runs in; `variables` are set for its worker process.
    """

    name: str
    description: str
    environment: str
    variables: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class Backend:
    """One framework, as its folder's `backend.toml` describes it.

    `package` is what a version in a contender pins, and the module that must be importable. `aliases` are
    other distributions of the same package (a CPU-only build under another name). `probe` is Python code that
    prints a JSON list of the devices the framework sees. `environments` maps an environment's key to its
    requirement list for each device kind.
    """

    name: str
    title: str
    folder: Path
    package: str
    aliases: tuple[str, ...]
    python: str
    default_mode: str
    devices: tuple[str, ...]
    probe: str | None
    modes: Mapping[str, Mode] = field(hash=False)
    environments: Mapping[str, Mapping[str, Path]] = field(hash=False)

    @property
    def distributions(self) -> tuple[str, ...]:
        """Every name under which the package may be installed."""
        return (self.package, *self.aliases)


@dataclass(frozen=True)
class Contender:
    """A backend in one of its modes, at the version its requirements pin or at another one."""

    backend: Backend
    mode: Mode
    version: str | None = None

    def __str__(self) -> str:
        """The canonical text, such as `torch==2.12.1:compile`; a default mode is left out."""
        version = f"=={self.version}" if self.version else ""
        mode = "" if self.mode.name == self.backend.default_mode else f":{self.mode.name}"
        return f"{self.backend.name}{version}{mode}"


def backends() -> dict[str, Backend]:
    """Every backend by name: those of the repository and those in `$ONESPEC_BACKENDS`.

    `$ONESPEC_BACKENDS` lists folders, separated as in `$PATH`, that each hold backend folders. Raises
    `UsageError` for a folder that is not there, a malformed `backend.toml`, or a name used twice.
    """
    found: dict[str, Backend] = {}
    for parent in _parents():
        for folder in sorted(entry for entry in parent.iterdir() if (entry / FILE).is_file()):
            backend = read(folder)
            if backend.name in found:
                raise UsageError(
                    f"two backends are called {backend.name!r}: {found[backend.name].folder} and {folder}. "
                    "Rename one of the folders."
                )
            found[backend.name] = backend
    return found


def contender(text: str, known: Mapping[str, Backend] | None = None) -> Contender:
    """Read `backend[==version][:mode]`, for instance `torch==2.12.1:compile`.

    `known` saves reading the backends again. Raises `UsageError` with the nearest right name.
    """
    known = backends() if known is None else known
    head, colon, mode_name = text.strip().partition(":")
    name, equals, version = head.partition("==")
    if not equals and "=" in name:
        raise UsageError(
            f"contender {text!r}: a version is written with '==', as in {name.replace('=', '==')!r}."
        )
    if name not in known:
        raise unknown("backend", name, known)
    if equals and not _VERSION.fullmatch(version):
        raise UsageError(f"contender {text!r}: {version!r} is not a version. Write it as in '{name}==1.2.3'.")
    backend = known[name]
    mode_name = mode_name if colon else backend.default_mode
    if mode_name not in backend.modes:
        raise unknown(f"mode of {name}", mode_name, backend.modes)
    return Contender(backend, backend.modes[mode_name], version or None)


def read(folder: Path) -> Backend:
    """Read one backend's folder. Raises `UsageError` naming the file and the field that is wrong."""
    file = folder / FILE
    if not _BACKEND_NAME.fullmatch(folder.name):
        raise UsageError(
            f"{folder}: a backend's folder is named with small letters, digits and '_', a letter first."
        )
    try:
        top = _Table(file, "", tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error

    title, package = top.text("title"), top.text("package")
    aliases = top.texts("aliases", optional=True)
    python = top.text("python")
    if not _PYTHON.fullmatch(python):
        raise top.wrong("python", f"is a version such as '3.11', not {python!r}")
    devices = top.texts("devices")
    for kind in devices:
        if kind not in DEVICE_KINDS:
            raise top.wrong("devices", str(unknown("device kind", kind, DEVICE_KINDS)))
    environments = {
        key: _requirements(table, folder, devices) for key, table in top.tables("environments").items()
    }
    modes = {name: _mode(name, table, environments) for name, table in top.tables("modes").items()}
    default_mode = top.text("default_mode")
    if default_mode not in modes:
        raise top.wrong("default_mode", str(unknown("mode", default_mode, modes)))
    probe = top.text("probe", optional=True) or None
    top.done()
    return Backend(
        folder.name,
        title,
        folder,
        package,
        aliases,
        python,
        default_mode,
        devices,
        probe,
        modes,
        environments,
    )


def _parents() -> list[Path]:
    parents = [paths.root() / "backends"]
    for text in os.environ.get("ONESPEC_BACKENDS", "").split(os.pathsep):
        if not text:
            continue
        parent = Path(text).expanduser()
        if not parent.is_dir():
            raise UsageError(f"ONESPEC_BACKENDS: {parent} is not a folder.")
        if (parent / FILE).exists():
            raise UsageError(f"ONESPEC_BACKENDS: {parent} is a backend; name the folder that holds it.")
        parents.append(parent)
    return [parent for parent in dict.fromkeys(parents) if parent.is_dir()]


def _requirements(table: _Table, folder: Path, devices: tuple[str, ...]) -> dict[str, Path]:
    lists = {}
    for kind in devices:
        lists[kind] = folder / table.text(kind)
        if not lists[kind].is_file():
            raise table.wrong(kind, f"names {lists[kind]}, which is not there")
    table.done()
    return lists


def _mode(name: str, table: _Table, environments: Mapping[str, object]) -> Mode:
    environment = table.text("environment", optional=True) or DEFAULT_ENVIRONMENT
    if environment not in environments:
        raise table.wrong("environment", str(unknown("environment", environment, environments)))
    variables = table.variables("variables")
    mode = Mode(name, table.text("description"), environment, variables)
    table.done()
    return mode


class _Table:
    """A TOML table whose fields are taken one by one; what is left in the end is a mistake."""

    def __init__(self, file: Path, name: str, content: dict[str, Any]) -> None:
        self._file, self._name, self._content = file, name, content
        self._known: list[str] = []

    def wrong(self, key: str, what: str) -> UsageError:
        return UsageError(f"{self._file}: {self._name}{key}: {what.rstrip('.')}.")

    def text(self, key: str, optional: bool = False) -> str:
        value = self._take(key, str, "a text", optional)
        if value is None:
            return ""
        if not value.strip():
            raise self.wrong(key, "is empty")
        return str(value)

    def texts(self, key: str, optional: bool = False) -> tuple[str, ...]:
        value = self._take(key, list, "a list of texts", optional)
        if value is None:
            return ()
        if not value or not all(isinstance(item, str) and item for item in value):
            raise self.wrong(key, "is a list of texts, at least one")
        if len(set(value)) < len(value):
            raise self.wrong(key, "names something twice")
        return tuple(value)

    def tables(self, key: str) -> dict[str, _Table]:
        value = self._take(key, dict, "a table of tables", optional=False)
        if not value:
            raise self.wrong(key, "is empty")
        for name, content in value.items():
            if not isinstance(content, dict):
                raise self.wrong(f"{key}.{name}", f"is a table, [{self._name}{key}.{name}]")
        return {
            name: _Table(self._file, f"{self._name}{key}.{name}.", content) for name, content in value.items()
        }

    def variables(self, key: str) -> dict[str, str]:
        value = self._take(key, dict, "a table of texts", optional=True) or {}
        for name, content in value.items():
            if not _VARIABLE_NAME.fullmatch(name) or not isinstance(content, str):
                raise self.wrong(f"{key}.{name}", "an environment variable's name and a text are needed")
        return dict(value)

    def done(self) -> None:
        """Refuse every field that nobody took."""
        for key in self._content:
            if key not in self._known:
                raise self.wrong(key, str(unknown("field", key, self._known)))

    def _take(self, key: str, kind: type, what: str, optional: bool) -> Any:
        self._known.append(key)
        if key not in self._content:
            if optional:
                return None
            # A misspelt field is more often the cause than a forgotten one, and reads better.
            raise self._missing(key)
        value = self._content[key]
        if not isinstance(value, kind):
            raise self.wrong(key, f"is {what}, not {value!r}")
        return value

    def _missing(self, key: str) -> UsageError:
        near = [other for other in self._content if other not in self._known and _alike(other, key)]
        return (
            self.wrong(near[0], f"is not a field. Did you mean {key!r}?")
            if near
            else self.wrong(key, "is missing")
        )


def _alike(one: str, other: str) -> bool:
    return "Did you mean" in str(unknown("field", one, [other]))
