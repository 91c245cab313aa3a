"""The user's package settings, for uv: what pip is told, translated where uv was told nothing.

uv reads its own variables and `uv.toml` by itself but nothing of pip's, so a machine set up for pip (a
mirror, a folder of wheels, a certificate) would otherwise be ignored. Where both are set, uv's own wins;
folders of wheels are joined. Precedence within pip follows its user guide ("Configuration"): variable over
the [install] section over [global], and a later file over an earlier one.
"""

from __future__ import annotations

import configparser
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

_TRUE = ("y", "yes", "t", "true", "on", "1")


@dataclass(frozen=True)
class Settings:
    """What one `uv pip install` is run with: its whole environment, and arguments that have no variable."""

    variables: dict[str, str]
    arguments: tuple[str, ...] = ()


def settings() -> Settings:
    """The settings of this process's user."""
    environ = dict(os.environ)
    return translate(environ, pip_options(environ, pip_files(environ)), uv_options(uv_files(environ)))


def translate(environ: Mapping[str, str], pip: Mapping[str, str], uv: Iterable[str]) -> Settings:
    """Add to `environ` what `pip` says and neither uv's variables nor its file options (`uv`) do.

    `pip` maps option names (`index-url`) to their text, as `pip_options` gives them.
    """
    result, configured = dict(environ), set(uv)

    def offer(name: str, value: str, *already: str) -> bool:
        """Set a variable that neither it nor an equivalent one sets, nor uv's file."""
        if not value or any(environ.get(other) for other in (name, *already)):
            return False
        result[name] = value
        return True

    index = {"index-url", "index"} & configured
    if not index:
        offer("UV_DEFAULT_INDEX", pip.get("index-url", ""), "UV_INDEX_URL")
    if not ({"extra-index-url", "index"} & configured):
        extra = " ".join(pip.get("extra-index-url", "").split())
        # pip takes the best version of any index; uv would stop at the first index that knows the name.
        if offer("UV_EXTRA_INDEX_URL", extra, "UV_INDEX") and "index-strategy" not in configured:
            offer("UV_INDEX_STRATEGY", "unsafe-best-match")
    if "allow-insecure-host" not in configured:
        offer("UV_INSECURE_HOST", " ".join(pip.get("trusted-host", "").split()))
    offer("UV_HTTP_TIMEOUT", pip.get("timeout", pip.get("default-timeout", "")))

    folders = [link for link in environ.get("UV_FIND_LINKS", "").split(",") if link]
    folders += [_absolute(link, environ) for link in pip.get("find-links", "").split()]
    if folders:
        result["UV_FIND_LINKS"] = ",".join(dict.fromkeys(folders))

    certificate = pip.get("cert", "")
    if certificate:
        path = Path(_absolute(certificate, environ))
        offer(
            "SSL_CERT_DIR" if path.is_dir() else "SSL_CERT_FILE", str(path), "SSL_CERT_FILE", "SSL_CERT_DIR"
        )
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        offer(name, pip.get("proxy", ""), name.lower(), "ALL_PROXY", "all_proxy")

    no_index = pip.get("no-index", "").lower() in _TRUE and "no-index" not in configured
    return Settings(result, ("--no-index",) if no_index else ())


def pip_options(environ: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """pip's options by name, from its files (later ones win) and `PIP_*` variables (they win over files).

    Raises `UsageError` naming a file that pip itself could not read either.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: pip's settings cannot be read: {error}") from error
        for section, options in sections.items():
            if parser.has_section(section):
                options.update({_option(name): value for name, value in parser.items(section)})
    variables = {_option(name[4:]): value for name, value in environ.items() if name.startswith("PIP_")}
    result: dict[str, str] = {}
    for options in (sections["global"], sections["install"], variables):
        # pip passes over an option whose value is empty, so it does not hide a weaker one.
        result.update({name: value.strip() for name, value in options.items() if value and value.strip()})
    return result


def pip_files(environ: Mapping[str, str], system: Path = Path("/etc")) -> list[Path]:
    """The files pip reads, weakest first: the system's, the user's, the interpreter's, `$PIP_CONFIG_FILE`."""
    named = environ.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return []
    home = _home(environ)
    shared = environ.get("XDG_CONFIG_DIRS") or str(system / "xdg")
    files = [Path(folder) / "pip" / "pip.conf" for folder in shared.split(os.pathsep) if folder]
    files += [
        system / "pip.conf",
        home / ".pip" / "pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf",
        Path(sys.base_prefix) / "pip.conf",
        Path(sys.prefix) / "pip.conf",
    ]
    if named:
        files.append(Path(named))
    return list(dict.fromkeys(files))


def uv_options(files: Sequence[Path]) -> set[str]:
    """The names of the options that uv's own files set. A bad file is passed over: uv reports it itself."""
    names: set[str] = set()
    for file in files:
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        pip = content.get("pip")
        names.update(content, pip if isinstance(pip, dict) else {})
    return names


def uv_files(environ: Mapping[str, str], system: Path = Path("/etc")) -> list[Path]:
    """The files uv reads for every project of the user."""
    if environ.get("UV_NO_CONFIG"):
        return []
    if environ.get("UV_CONFIG_FILE"):
        return [Path(environ["UV_CONFIG_FILE"])]
    shared = environ.get("XDG_CONFIG_DIRS") or str(system / "xdg")
    files = [Path(folder) / "uv" / "uv.toml" for folder in shared.split(os.pathsep) if folder]
    user = Path(environ.get("XDG_CONFIG_HOME") or _home(environ) / ".config") / "uv" / "uv.toml"
    return [*files, system / "uv" / "uv.toml", user]


def _option(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def _absolute(place: str, environ: Mapping[str, str]) -> str:
    """An address as it is; a path made absolute, since uv may be run in another folder."""
    if "://" in place or place.startswith("file:"):
        return place
    if place == "~" or place.startswith("~/"):
        place = str(_home(environ)) + place[1:]
    return os.path.abspath(place)
