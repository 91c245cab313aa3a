"""`onespec doctor`: this machine, each backend's environment and devices, what would spoil a measurement."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from harness.errors import OnespecError

if TYPE_CHECKING:
    from harness.catalogue import Backend
    from harness.environments import Environment
    from harness.hazards import Hazard
    from harness.machine import Condition

HELP = "look at this machine, the environments and what would spoil a measurement"
EXAMPLE = "onespec doctor --quick"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--quick", action="store_true", help="do not start the frameworks to ask for their devices"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 1 where an environment that was made does not work."""
    from dataclasses import asdict

    from harness import catalogue, machine
    from harness.environments import needed
    from harness.hazards import hazards

    # Before anything is started here that would itself keep the machine busy.
    now = machine.condition()
    facts = machine.describe()
    known = catalogue.backends()
    kinds = ("cpu", "cuda") if now.gpus else ("cpu",)
    rows = [_state(place, known[place.backend], ask=not arguments.quick) for place in needed(known, kinds)]
    found = hazards(now)
    if arguments.json:
        parts = {
            "machine": facts,
            "condition": asdict(now),
            "environments": rows,
            "hazards": [asdict(hazard) for hazard in found],
        }
        print(json.dumps(parts, indent=1))
    else:
        _print(facts, now, rows, found)
    return 1 if any(row["state"] == "broken" for row in rows) else 0


def _state(environment: Environment, backend: Backend, ask: bool) -> dict[str, Any]:
    """One environment's row; a framework that cannot be asked makes it broken, with the reason."""
    from harness.environments import describe, devices

    row: dict[str, Any] = {
        "backend": backend.name,
        "environment": environment.key,
        "device": environment.device_kind,
        "state": "not made",
        "version": None,
        "devices": None,
        "reason": None,
    }
    if not environment.ready:
        if environment.folder is not None and environment.folder.exists():
            row |= {"state": "broken", "reason": "it is not whole, and will be made anew when it is needed"}
        return row
    packages = describe(environment).packages
    row["state"] = "ready"
    row["version"] = next((packages[name] for name in backend.distributions if name in packages), None)
    if ask:
        try:
            row["devices"] = devices(environment, backend)
        except OnespecError as error:
            row |= {"state": "broken", "reason": str(error)}
    return row


def _print(facts: dict[str, Any], now: Condition, rows: list[dict[str, Any]], found: list[Hazard]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    machine = Table("this machine", "", show_header=True)
    for name, value in _machine_lines(facts, now):
        machine.add_row(name, value)
    console.print(machine)

    environments = Table("backend", "environment", "device", "state", "version", "devices")
    for row in rows:
        last = row["reason"] or ", ".join(row["devices"] or ())
        columns = ("backend", "environment", "device", "state", "version")
        environments.add_row(*(row[name] or "" for name in columns), last)
    console.print(environments)
    if any(row["state"] == "not made" for row in rows):
        console.print("Environments are made when they are first needed, or now by: onespec env create")

    if not found:
        console.print("Nothing was seen that would spoil a measurement.")
        return
    spoilers = Table("would spoil a measurement", "seen", "what to do")
    for hazard in found:
        spoilers.add_row(hazard.name, hazard.seen, hazard.advice)
    console.print(spoilers)


def _machine_lines(facts: dict[str, Any], now: Condition) -> list[tuple[str, str]]:
    def gib(size_bytes: int) -> str:
        return f"{size_bytes / 2**30:.1f} GiB"

    def share(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0%}"

    quota = "" if now.quota_cores is None else f", limited to the time of {now.quota_cores:g}"
    kind = " (virtual machine)" if facts["virtual_machine"] else ""
    lines = [
        ("processor", f"{facts['cpu']}{kind}"),
        ("cores", f"{facts['cores']}, of which {now.usable_cores} may be used{quota}"),
        ("clock governor", ", ".join(now.governors) or "not shown by the system"),
        ("in use", f"{share(now.busy_share)}, load {now.load:.1f}, stolen {share(now.steal_share)}"),
        (
            "waiting for",
            f"processor {share(now.cpu_pressure)}, memory {share(now.memory_pressure)}, "
            f"disk {share(now.io_pressure)}",
        ),
        ("memory", f"{gib(facts['memory_bytes'])}, available {gib(now.memory_available_bytes)}"),
        ("disk", f"{gib(now.disk_free_bytes)} free for environments and data"),
        ("system", f"{facts['os']}, kernel {facts['kernel']}"),
    ]
    for number, gpu in enumerate(now.gpus):
        usage = f"{gib(gpu.memory_bytes)}, {share(gpu.busy_share)} busy, driver {gpu.driver}"
        lines.append((f"GPU {number}", f"{gpu.name}, {usage}"))
    return lines if now.gpus else [*lines, ("GPU", "none seen by nvidia-smi")]
