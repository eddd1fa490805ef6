"""The lock pins what the project asks for, with hashes, and the set-up has nothing to do when it was done."""

from __future__ import annotations

import re
import subprocess
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
ASKED = [
    *PROJECT["project"]["dependencies"],
    *PROJECT["dependency-groups"]["dev"],
    *PROJECT["build-system"]["requires"],
]


@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_for_is_pinned(asked: str) -> None:
    requirement = Requirement(asked)
    pinned = re.search(rf"^{re.escape(requirement.name.lower())}(?:\[[\w,-]+\])?==(\S+)", LOCK, re.MULTILINE)
    assert pinned is not None, "run `make lock`"
    assert requirement.specifier.contains(pinned[1], prereleases=True)


def test_every_pin_has_hashes() -> None:
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert entries
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_no_package_index_is_named() -> None:
    assert re.findall(r"^(?:--|-i |.*://).*$", LOCK, re.MULTILINE) == []


def test_set_up_is_done_at_once_when_there_is_nothing_to_do() -> None:
    if not (ROOT / ".venv" / ".stamp").exists():
        pytest.skip("this environment was not made by `make setup`")
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True, timeout=600)
    started = time.monotonic()
    subprocess.run(["make", "setup"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert time.monotonic() - started < 2
