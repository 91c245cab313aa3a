"""Finding a data set's source files: in the user's folder, in the cache, or on a mirror; always verified."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.data.catalogue import CATALOGUE, load
from harness.data.data_set import PACK, DataSet, File
from harness.data.disk import DataError, cache_writes, file_sha256, locked
from harness.data.download import DownloadFailed, Progress, download, rejected_path
from harness.errors import UsageError


class Place(enum.Enum):
    """Where a source file is."""

    EMBEDDED = "embedded"
    DATA_DIR = "in data dir"
    CACHE = "in cache"
    ABSENT = "to be downloaded"
    UNOFFERED = "to be got by hand"


@dataclass(frozen=True)
class Finding:
    """What a check of one file found; `problem` is None where the content is right or the file absent."""

    dataset: str
    file: str
    place: Place
    path: Path | None
    problem: str | None


def data_cache(dataset: DataSet) -> Path:
    """The folder that holds what was downloaded of a data set."""
    return paths.cache() / "data" / dataset.name


def locate(dataset: DataSet, file: File, data_dir: Path | None) -> tuple[Place, Path | None]:
    """Where a file is: `data_dir/<its folder>/<file>`, `data_dir/<file>`, the cache, or nowhere yet.

    Data sets share file names, so a file that lies directly in `data_dir` and is another data set's, by its
    checksum, is passed over. Raises `UsageError` where `data_dir` is no folder.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise UsageError(f"--data-dir {data_dir}: there is no such folder")
        own = data_dir / dataset.data_dir_folder / file.name
        if own.is_file():
            return Place.DATA_DIR, own
        flat = data_dir / file.name
        if flat.is_file() and not _belongs_to_another(dataset, file, flat):
            return Place.DATA_DIR, flat
    cached = data_cache(dataset) / file.name
    if cached.is_file():
        return Place.CACHE, cached
    offered = dataset.packing is None and dataset.found_in is None
    return (Place.ABSENT if offered else Place.UNOFFERED), None


def _belongs_to_another(dataset: DataSet, file: File, path: Path) -> bool:
    others = {
        other.sha256
        for candidate in CATALOGUE.values()
        if candidate.name != dataset.name
        for other in candidate.files
        if other.name == file.name and other.sha256 != file.sha256
    }
    return bool(others) and problem_of(file, path) is not None and file_sha256(path) in others


def problem_of(file: File, path: Path) -> str | None:
    """What is wrong with the content of `path`, or None."""
    try:
        found_bytes = path.stat().st_size
        if found_bytes < file.bytes:
            return f"truncated: {found_bytes} of {file.bytes} bytes"
        found = file_sha256(path)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if found != file.sha256:
        return f"wrong checksum: SHA-256 {found}, expected {file.sha256}"
    return None


def obtain(
    dataset: DataSet, data_dir: Path | None = None, progress: Progress | None = None
) -> dict[str, Path]:
    """The paths of all source files by name, each verified; downloads into the cache what is nowhere.

    A file in `data_dir` is never written to, and a wrong one there is an error; a wrong one in the cache is
    set aside and downloaded again. Raises `DataError`, naming the file and what to do.
    """
    found = {}
    for file in dataset.files:
        place, path = locate(dataset, file, data_dir)
        if place is Place.DATA_DIR and path is not None:
            problem = problem_of(file, path)
            if problem is not None:
                raise DataError(
                    f"{path}: {problem}. "
                    f"Replace the file, or leave --data-dir out to download {dataset.name}."
                )
            found[file.name] = path
        else:
            found[file.name] = _from_cache(dataset, file, progress)
    return found


def _from_cache(dataset: DataSet, file: File, progress: Progress | None) -> Path:
    folder = data_cache(dataset)
    cached = folder / file.name
    if cached.is_file() and problem_of(file, cached) is None:
        return cached
    with cache_writes(folder), locked(folder / ".lock"):
        if cached.is_file():
            # Another process may have downloaded it while this one waited for the lock.
            if problem_of(file, cached) is None:
                return cached
            os.replace(cached, rejected_path(cached))
        try:
            return download(file, folder, progress)
        except DownloadFailed as error:
            needed = ", ".join(each.name for each in dataset.files)
            raise DataError(
                f"{dataset.name}: {error}\n"
                f"{_way_out(dataset, file)} and name their folder with --data-dir DIR, "
                f"as DIR/{dataset.data_dir_folder}/FILE or DIR/FILE. Needed: {needed}."
            ) from error


def _way_out(dataset: DataSet, file: File) -> str:
    if dataset.found_in is not None:
        return f"Get the file from {dataset.found_in},"
    if dataset.packing is None:
        return "Try again later, or get the files elsewhere"
    folder, origin = dataset.packing
    command = PACK.format(folder=folder, file=file.name)
    return f"Get the folder {folder}/ {origin}, pack it with\n  {command}\n"


def check(dataset: DataSet, data_dir: Path | None = None) -> list[Finding]:
    """Verify what is there of a data set, without downloading or changing anything."""
    if dataset.embedded:
        try:
            load(dataset, {})
        except DataError as error:
            return [Finding(dataset.name, "(embedded)", Place.EMBEDDED, None, str(error))]
        return [Finding(dataset.name, "(embedded)", Place.EMBEDDED, None, None)]
    findings = []
    for file in dataset.files:
        place, path = locate(dataset, file, data_dir)
        problem = None if path is None else problem_of(file, path)
        findings.append(Finding(dataset.name, file.name, place, path, problem))
    return findings


def state(dataset: DataSet, data_dir: Path | None = None) -> str:
    """One phrase on where a data set is; sizes are looked at, checksums are left to `check`."""
    if dataset.embedded:
        return Place.EMBEDDED.value
    located = [(file, *locate(dataset, file, data_dir)) for file in dataset.files]
    if any(path is not None and path.stat().st_size != file.bytes for file, _, path in located):
        return "damaged"
    places = [place for _, place, _ in located]
    absent = places.count(Place.ABSENT)
    if 0 < absent < len(places):
        return f"{Place.ABSENT.value} ({absent} of {len(places)} files)"
    return Place.DATA_DIR.value if Place.DATA_DIR in places else places[0].value
