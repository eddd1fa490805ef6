"""The embedded server where paths are long and parents are closed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psycopg
import pytest

from gateway.store.embedded import EmbeddedServer
from tests.harness import data_directory


def test_long_paths_and_closed_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    with data_directory() as folder:
        deep = folder.parent / ("a" * 60) / ("b" * 60)
        deep.mkdir(parents=True, mode=0o700)
        deep.parent.chmod(0o700)  # as root the server's own user cannot walk there
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        server = EmbeddedServer(deep / "data")
        try:
            server.ensure_running()
            with psycopg.connect(server.dsn) as link:
                assert link.execute("SHOW synchronous_commit").fetchone() == ("on",)
            place = Path(psycopg.conninfo.conninfo_to_dict(server.dsn)["host"])  # type: ignore[arg-type]
            assert len(str(place / ".s.PGSQL.5432")) <= 107
            assert place.is_symlink()
            assert server.cluster.stat().st_mode & 0o777 == 0o700
            if os.geteuid() == 0:
                assert server.cluster.stat().st_uid != 0
        finally:
            server.stop()
        assert not place.is_symlink()
        assert server.pid() is None
