"""Recorded runs made by hand: records with chosen numbers, and one that looks like a real run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from harness.score.pictures import EXAMPLES, Kept, Kind, path_of

Record = dict[str, Any]
MIB = 2**20
FINGERPRINT = "f" * 64


def verify(
    contender: str,
    workload: str = "mlp",
    *,
    error: float | None = 1e-7,
    tolerance: float = 1e-6,
    status: str = "ok",
    reason: str | None = None,
    precisions: tuple[str, ...] = ("float64", "float32"),
) -> Record:
    """A proof of four tensors, whose gradient has the given error."""
    entries = [
        {"tensor": "output", "error": 1e-9, "tolerance": 1e-6},
        {"tensor": "loss", "error": 1e-9, "tolerance": 1e-6},
        {"tensor": "gradient/dense1/kernel", "error": error, "tolerance": tolerance},
        {"tensor": "parameters/dense1/kernel", "error": 2e-9, "tolerance": 1e-6},
    ]
    record = _record("verify", contender, workload, None, status, reason)
    return record | {"proof": dict.fromkeys(precisions, entries)}


def measure(
    contender: str,
    workload: str = "mlp",
    *,
    block: int = 0,
    step_ms: tuple[float, ...] = (1.0, 1.0, 1.0),
    warmup_ms: float = 50.0,
    evaluate: tuple[float, ...] = (1000.0,),
    first_step: float = 0.5,
    started: str = "",
    seed: int | None = None,
    accuracy: float | None = None,
    learning: Record | None = None,
    status: str = "ok",
    reason: str | None = None,
    measured: bool = True,
) -> Record:
    """A measured process: a warm-up block of 1 step, one of 10 for each `step_ms`; passes of 100 samples."""
    record = _record("measure", contender, workload, block, status, reason)
    record |= {"seed": seed, "started": started or f"2026-01-02T03:{block:02d}:00+00:00"}
    if not measured:
        return record
    if learning is None and accuracy is not None:
        learning = {"train": [], "validation": [], "test": {"loss": 1 - accuracy, "accuracy": accuracy}}
    record["measures"] = {
        "import_seconds": 1.0 + block,
        "build_seconds": 0.25,
        "first_step_seconds": first_step,
        "batch_size": 32,
        "train_blocks": [
            {"steps": 1, "seconds": warmup_ms / 1000, "warmup": True},
            *({"steps": 10, "seconds": milliseconds / 100, "warmup": False} for milliseconds in step_ms),
        ],
        "evaluate_passes": [{"samples": 100, "seconds": 100 / rate, "warmup": False} for rate in evaluate],
        "learning": learning,
        "device_peak_bytes": None,
    }
    return record


def memory(
    contender: str,
    workload: str = "mlp",
    *,
    after_import: int = 200,
    peak: float = 300,
    block: int | None = None,
    between: tuple[float, float, float] | None = None,
) -> Record:
    """A memory pass; MiB above an interpreter that starts with 10. `between` are those when all is built,
    after the first step and at rest.
    """
    measures = {
        "start_bytes": 10 * MIB,
        "import_bytes": (10 + after_import) * MIB,
        "peak_bytes": (10 + peak) * MIB,
        "device_peak_bytes": None,
    }
    if between is not None:
        phases = zip(("build", "first_step", "rest"), between, strict=True)
        measures |= {f"{phase}_bytes": (10 + held) * MIB for phase, held in phases}
    return _record("memory", contender, workload, block, "ok", None) | {"measures": measures}


def good(contender: str, workload: str = "mlp", *, step_ms: tuple[float, ...] = (1.0, 1.0)) -> list[Record]:
    """A whole contender: proven, one process a block with the given step time, and its memory."""
    processes = [
        measure(contender, workload, block=block, step_ms=(time,) * 4) for block, time in enumerate(step_ms)
    ]
    return [verify(contender, workload), *processes, memory(contender, workload)]


def _record(
    kind: str, contender: str, workload: str, block: int | None, status: str, reason: str | None
) -> Record:
    job = f"{workload}/{contender}/{kind}" + ("" if block is None else f"/{block}")
    return {
        "schema": 1,
        "job": job,
        "kind": kind,
        "workload": workload,
        "fingerprint": FINGERPRINT,
        "contender": contender,
        "device": "cpu",
        "threads": 2,
        "block": block,
        "turn": None if block is None else 0,
        "seed": None,
        "status": status,
        "reason": reason,
        "started": "2026-01-02T03:00:00+00:00",
        "wall_seconds": 2.0,
        "environment": {
            "python": "3.11.7",
            "packages": {contender.split(":")[0]: "1.2.3", "numpy": "2.2.6"},
            "variables": {"OMP_NUM_THREADS": "2"} | ({"FAST": "1"} if contender.endswith(":fast") else {}),
        },
        "proof": None,
        "measures": None,
    }


def write(
    folder: Path,
    records: list[Record],
    *,
    contenders: list[str] | None = None,
    workloads: tuple[str, ...] = ("mlp",),
    target: float | None = None,
    metric: str = "accuracy",
    **meta: Any,
) -> Path:
    """Write a run into `folder`; its contenders are those of the records unless named."""
    folder.mkdir(parents=True, exist_ok=True)
    named = sorted({record["contender"] for record in records}) if contenders is None else contenders
    described = {
        "schema": 1,
        "run": folder.name,
        "created": "2026-01-02T03:00:00+00:00",
        "command": ["onespec", "run", "try"],
        "suite": {"name": "try", "title": "A suite to try", "text": 'name = "try"\n'},
        "workloads": {
            workload: {
                "fingerprint": FINGERPRINT,
                "title": f"The {workload}",
                "spec": {"model": ["dense", "relu"], "note": "<b>&"},
                "metric": metric,
                "target": target,
                "parameters": 109386,
                "flops_per_sample": 218000,
                "batch_size": 32,
                "steps_per_epoch": 44,
                "epochs": 20,
            }
            for workload in workloads
        },
        "contenders": named,
        "device": "cpu",
        "threads": 2,
        "blocks": 3,
        "seed": 0,
        "machine": {"cpu": "A processor", "cores": 2, "memory_bytes": 8 * 2**30, "os": "Linux", "gpu": None},
        "software": {"onespec": "0.1.0", "commit": "abc1234", "python": "3.11.7"},
    }
    (folder / "run.json").write_text(json.dumps(described | meta), encoding="utf-8")
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl").write_text(lines, encoding="utf-8")
    return folder


_NAMES = ("alpha", "alpha:fast", "beta", "beta:compile", "delta", "delta:loop", "gamma:alpha", "gamma:beta")
_MORE = ("gamma:delta", "kappa", "kappa:imperative", "omega", "omega:xla")
THIRTEEN = (*_NAMES, *_MORE)


def realistic(folder: Path) -> Path:
    """Thirteen contenders, two workloads, three blocks; one unproven, one crashing, one too slow."""
    random = np.random.default_rng(0)
    records: list[Record] = []
    for place, workload in enumerate(("digits-mlp", "digits-lenet")):
        times = np.exp(random.uniform(np.log(0.15), np.log(4.0 if place else 9.0), len(THIRTEEN)))
        for contender, milliseconds in zip(THIRTEEN, times, strict=True):
            records += _realistic(random, contender, workload, float(milliseconds) * (4 if place else 1))
    return write(folder, records, workloads=("digits-mlp", "digits-lenet"), target=0.9)


def _realistic(
    random: np.random.Generator, contender: str, workload: str, milliseconds: float
) -> list[Record]:
    if contender == "kappa" and workload == "digits-lenet":
        reason = "gradient/batchnorm1/scale in float64 is off by 4.3e-02 (tolerance 1.0e-10)"
        return [verify(contender, workload, error=4.3e-2, tolerance=1e-10, status="failed", reason=reason)]
    records = [verify(contender, workload, error=float(np.exp(random.uniform(-17, -14))), tolerance=2e-6)]
    first_step = float(np.exp(random.uniform(-2, 2.6)))
    for block in range(3):
        if contender == "omega" and block == 1:
            reason = "the process ended by signal 11 (SIGSEGV)"
            records.append(
                measure(contender, workload, block=block, status="crashed", reason=reason, measured=False)
            )
            continue
        if contender == "gamma:delta" and workload == "digits-mlp":
            reason = "no result after 120 s, the time limit"
            records.append(
                measure(contender, workload, block=block, status="timeout", reason=reason, measured=False)
            )
            continue
        base = milliseconds * float(np.exp(random.normal(0, 0.06)))
        records.append(
            measure(
                contender,
                workload,
                block=block,
                step_ms=tuple(base * np.exp(random.normal(0, 0.02, 8))),
                evaluate=tuple(2e5 / base * np.exp(random.normal(0, 0.05, 3))),
                first_step=first_step * (1.0 if block == 0 else 0.4),
                seed=block,
                learning=_learning(random, block),
            )
        )
    after_import = int(random.uniform(90, 450))
    if contender != "delta":
        records.append(
            memory(
                contender,
                workload,
                after_import=after_import,
                peak=int(after_import * random.uniform(1.2, 2)),
            )
        )
    return records


def _learning(random: np.random.Generator, seed: int) -> Record:
    shared = np.random.default_rng(seed)
    steps = np.arange(0, 900, 22)
    loss = (
        2.3 * np.exp(-steps / 180) + 0.08 + 0.03 * shared.standard_normal(len(steps)) * np.exp(-steps / 300)
    )
    rounding = 1e-7 * np.exp(steps / 110) * random.standard_normal(len(steps))
    accuracy = 0.97 - 0.6 * np.exp(-np.arange(1, 21) / 4) + 0.001 * random.standard_normal(20)
    return {
        "train": [
            {"step": int(step), "loss": float(value)}
            for step, value in zip(steps, loss + rounding, strict=True)
        ],
        "validation": [
            {"epoch": epoch, "step": epoch * 44, "loss": float(1 - value), "accuracy": float(value)}
            for epoch, value in enumerate(accuracy, start=1)
        ],
        "test": {"loss": 0.1, "accuracy": float(accuracy[-1])},
        "seconds": 3.0,
    }


def pictures(
    run: Path,
    kind: Kind,
    contenders: tuple[str, ...],
    workload: str = "mlp",
    *,
    noisy: bool = False,
    code: int | None = None,
) -> None:
    """Pictures of discs and squares in a run, each contender a little wrong in its own way."""
    count, size = EXAMPLES[kind], 32 if kind in ("masks", "detections") else 8
    images, truth, boxes = _scenes(count, size, 3 if kind in ("masks", "detections") else 1)
    for place, contender in enumerate(contenders):
        random = np.random.default_rng(place + 1)
        arrays = {"images": _bytes(images)}
        if kind == "masks":
            edge = np.roll(truth, place % 3, axis=1) & (random.uniform(size=truth.shape) > 0.02)
            arrays |= {"truth": truth, "found": edge}
        elif kind == "detections":
            found = boxes[random.uniform(size=len(boxes)) > 0.15].copy()
            found[:, 3:] += random.normal(0, 0.02, found[:, 3:].shape)
            found[:, 2] = random.uniform(0.3, 1, len(found))
            arrays |= {"truth": boxes, "found": found}
        else:
            arrays["found"] = _bytes(images * 0.8 + random.uniform(0, 0.25, images.shape))
        if noisy:
            arrays["noisy"] = _bytes(images + np.random.default_rng(0).normal(0, 0.3, images.shape))
        if code is not None:
            labels = np.arange(300) % 10
            turned = np.stack([np.cos(labels + place), np.sin(labels + place)], 1) * (1 + labels[:, None] / 9)
            points = (turned + random.normal(0, 0.15, turned.shape)).astype(np.float32)
            components = (turned + np.random.default_rng(0).normal(0, 0.5, turned.shape)).astype(np.float32)
            arrays |= {"labels": labels, "code": points, "components": components}
            arrays["code_size"] = np.array(code)
        names = ("disc", "square") if kind == "detections" else tuple("0123456789")
        Kept(kind, 0, names, arrays).write(path_of(run, workload, contender))


def _bytes(images: np.ndarray) -> np.ndarray:
    found: np.ndarray = (np.clip(images, 0, 1) * 255).astype(np.uint8)
    return found


def _scenes(count: int, size: int, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images (count, size, size, channels), masks of what is in them, and its boxes."""
    random = np.random.default_rng(0)
    images = random.uniform(0.05, 0.25, (count, size, size, channels))
    masks = np.zeros((count, size, size), bool)
    boxes = []
    rows, columns = np.mgrid[:size, :size] / size
    for image in range(count):
        for _ in range(random.integers(1, 4)):
            label = int(random.integers(2))
            x, y = random.uniform(0.25, 0.75, 2)
            radius = random.uniform(0.1, 0.2)
            distance = (
                np.hypot(rows - y, columns - x) if label == 0 else np.maximum(abs(rows - y), abs(columns - x))
            )
            masks[image] |= distance < radius
            images[image][distance < radius] = random.uniform(0.4, 1, channels)
            boxes.append([image, label, 1, x - radius, y - radius, x + radius, y + radius])
    return images, masks, np.array(boxes, np.float32)
