"""The parts that tests rely on: they run here, or say why they cannot be had."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psycopg
import pytest

from tools import parts


def test_promtool_runs(promtool: Path) -> None:
    done = subprocess.run([promtool, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert "promtool, version" in done.stdout + done.stderr


def test_chromium_draws_a_page(chromium: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>t</title><p id=x>before</p><script>x.textContent = 'aft' + 'er'</script>")
    command = [
        str(chromium),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--dump-dom",
    ]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    assert ">after</p>" in done.stdout


def test_timescaledb_makes_a_hypertable(timescaledb_dsn: str) -> None:
    with psycopg.connect(timescaledb_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE part")
    with psycopg.connect(timescaledb_dsn, dbname="part", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
        connection.execute("CREATE TABLE seen (at timestamptz NOT NULL, value int)")
        connection.execute("SELECT create_hypertable('seen', 'at')")
        connection.execute("INSERT INTO seen VALUES (now(), 1), (now() - interval '30 days', 2)")
        (chunks,) = connection.execute("SELECT count(*) FROM show_chunks('seen')").fetchone() or (0,)
    assert chunks == 2


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOZOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(parts.PartMissingError, match=r"cannot write to .*/file/parts"):
        parts.timescaledb()


def test_without_apt_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOZOR_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))  # nor is anything installed
    for find in (parts.promtool, parts.nginx, parts.caddy, parts.chromium, parts.timescaledb):
        with pytest.raises(parts.PartMissingError, match="no apt-get and dpkg on this machine"):
            find()
    assert not list(tmp_path.glob("parts/*/.complete"))
