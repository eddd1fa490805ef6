"""Who may import whom: the contracts of pyproject.toml, and those that import-linter has no words for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What would let bytes-to-records code or a detector do I/O, wait, or read a clock.
OUTSIDE = {
    "aiosmtplib", "asyncio", "http", "httpx", "multiprocessing", "os", "psycopg", "requests", "select", "selectors",
    "socket", "ssl", "starlette", "structlog", "subprocess", "threading", "time", "urllib", "uvloop",
}  # fmt: skip

PURE = ("urllib.parse.",)  # of these packages, but text alone


def imports(package: str) -> Iterator[tuple[Path, int, str]]:
    """Every absolute import below `package`: file, line, dotted name."""
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((file, node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield from ((file, node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def test_the_contracts_are_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " kept, 0 broken" in done.stdout


def test_ticketing_knows_detectors_by_their_verdicts_only() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file, line, name in imports("ticketing")
        if name.split(".")[0] == "detectors" and name.split(".")[:2] != ["detectors", "verdicts"]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["protocols", "detectors"])
def test_no_input_no_output_no_clock(package: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file, line, name in imports(package)
        if name.split(".")[0] in OUTSIDE and not name.startswith(PURE)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["protocols", "detectors"])
def test_now_is_an_argument(package: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{node.lineno}: .{node.func.attr}()"
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("now", "utcnow", "today", "monotonic", "perf_counter", "time_ns")
    ]
    assert wrong == []


def test_modules_stay_short() -> None:
    lengths = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for package in ("protocols", "detectors", "ticketing", "gateway", "bench", "tools")
        for file in (ROOT / package).rglob("*.py")
        if not file.name.endswith("_pb2.py")
    }
    assert {file: lines for file, lines in lengths.items() if lines > 600} == {}
