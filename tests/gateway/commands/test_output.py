"""Where output goes nowhere: a reader that has seen enough, a full disk, letters that the locale does not have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[3]
FULL = Path("/dev/full")
ASKED = json.dumps({"policy": "integrator-standard", "clock": "reaction-remote", "start": "2026-11-21T10:00+03:00"})
# Commands that say much, each in its own way; what they read from standard input.
LOUD = [
    pytest.param(["completion", "zsh"], "", id="one print"),
    pytest.param(["clock", "--batch", "-"], f"{ASKED}\n" * 500, id="line by line"),
    pytest.param(["decode", "teltonika", "-", "--json"], "00000000000000ff\n" * 5000, id="decode"),
    pytest.param(["policy", "show", "integrator-standard", "--toml"], "", id="a template"),
]


def command(words: list[str], folder: Path, **more: str) -> tuple[list[str], dict[str, str]]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DOZOR_", "PYTHON", "LC_"))}
    return [sys.executable, "-m", "gateway.cli", *words], {
        **plain,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        **more,
    }


@pytest.mark.parametrize(("words", "text"), LOUD)
def test_a_reader_that_has_seen_enough_ends_it_without_a_word(words: list[str], text: str, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head` has done by then
    line, environment = command(words, tmp_path)
    try:
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, input=text.encode(), stdout=write, stderr=subprocess.PIPE,
            check=False, timeout=60,
        )  # fmt: skip
    finally:
        os.close(write)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    assert b"Exception" not in done.stderr
    assert done.returncode == 141, "a shell with pipefail takes it for what it is"


@pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full here")
@pytest.mark.parametrize(("words", "text"), LOUD)
def test_a_full_disk_is_one_line_and_no_success(words: list[str], text: str, tmp_path: Path) -> None:
    line, environment = command(words, tmp_path)
    with FULL.open("wb") as full:
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, input=text.encode(), stdout=full, stderr=subprocess.PIPE,
            check=False, timeout=60,
        )  # fmt: skip
    told = done.stderr.decode()
    assert told.splitlines()[-1] == f"dozor {words[0]}: No space left on device: make room"
    assert "Traceback" not in told
    assert done.returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_is_listed_whatever_letters_the_locale_has(encoding: str, postgres_dsn: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as link:
        link.execute("INSERT INTO terminal (identity, name) VALUES ('1', 'Газель «12»')")
    line, environment = command(
        ["terminal", "list"], tmp_path, PYTHONIOENCODING=encoding, DOZOR_STORE__DSN=postgres_dsn
    )
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    shown = done.stdout.decode(encoding).split("\t")[3]
    assert (
        shown
        == {
            "ascii": r"\u0413\u0430\u0437\u0435\u043b\u044c \xab12\xbb",
            "latin-1": r"\u0413\u0430\u0437\u0435\u043b\u044c «12»",
            "utf-8": "Газель «12»",
        }[encoding]
    )


def test_what_is_read_to_its_end_is_a_success(tmp_path: Path) -> None:
    line, environment = command(["clock", "--batch", "-"], tmp_path)
    done = subprocess.run(
        line, cwd=tmp_path, env=environment, input=f"{ASKED}\n{{\n".encode(), capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip
    first, second = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, b"")
    assert "error" not in first
    assert "no JSON" in second["error"]
