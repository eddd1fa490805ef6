"""A database of one's own that is not what one expects, and one that admits nobody: seen by terminals and `/readyz`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from gateway.store.embedded import EmbeddedServer
from tests.gateway.wire import Link, no_exception, wait_for
from tests.harness import ServiceProcess, data_directory

FAILING = """
CREATE FUNCTION nobody() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'permission denied' USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE TRIGGER nobody BEFORE INSERT ON terminal FOR EACH ROW EXECUTE FUNCTION nobody()
"""


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.soak)], ids=["one process", "workers"])
def service(request: pytest.FixtureRequest, postgres_server: EmbeddedServer) -> Iterator[ServiceProcess]:
    """On a database whose dates and texts are somebody else's habit."""
    name = f"t{uuid.uuid4().hex}"
    maintenance = postgres_server.dsn.replace("dbname=dozor", "dbname=postgres")
    with psycopg.connect(maintenance, autocommit=True) as link, data_directory() as folder:
        link.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Asia/Vladivostok'", "client_encoding = LATIN1"):
            link.execute(f"ALTER DATABASE {name} SET {setting}".encode())
        running = ServiceProcess(
            folder, DOZOR_STORE__DSN=postgres_server.dsn.replace("dbname=dozor", f"dbname={name}"),
            DOZOR_LOGIN__TIMEOUT="60s",
        )  # fmt: skip
        running.arguments = ["--workers", str(request.param)] if request.param > 1 else []
        try:
            running.start()
            yield running
            no_exception(running)
            assert running.stop() == 0, running.tail()
        finally:
            running.end()
            link.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _log_in(service: ServiceProcess, name: str) -> Link:
    return Link(service, "wialon-ips", timeout=20.0).send(f"#L#{name};NA\r\n".encode())


def _ready(service: ServiceProcess) -> dict[str, object]:
    found: dict[str, object] = json.loads(service.get("/readyz")[1])
    return found


def test_names_and_texts_arrive_as_they_were_sent(service: ServiceProcess) -> None:
    now = time.strftime("%d%m%y;%H%M%S", time.gmtime())
    for name in ("PLAIN-1", "ТРАКТОР-1", "PLAIN-2"):
        with _log_in(service, name) as link:
            assert link.read(7) == b"#AL#1\r\n"
            if name == "PLAIN-2":
                text = f"#D#{now};5544.6025;N;03739.6834;E;36;180;150;9;NA;NA;NA;;NA;note:3:Привет\r\n"
                assert link.send(text.encode()).read(7) == b"#AD#1\r\n"
    with psycopg.connect(service.environment["DOZOR_STORE__DSN"], client_encoding="UTF8") as link:
        assert link.execute("SELECT identity FROM terminal ORDER BY identity COLLATE \"C\"").fetchall() == [
            ("PLAIN-1",), ("PLAIN-2",), ("ТРАКТОР-1",),
        ]  # fmt: skip
        ((measures, age),) = link.execute(
            "SELECT measures, extract(epoch FROM now() - time)::int FROM telemetry WHERE terminal = 'PLAIN-2'"
        ).fetchall()
    assert "Привет" in measures.values()
    assert 0 <= age < 60


def test_nobody_can_be_admitted_is_told_and_ends(service: ServiceProcess) -> None:
    dsn = service.environment["DOZOR_STORE__DSN"]
    with psycopg.connect(dsn, autocommit=True) as link:
        link.execute(FAILING.encode())
    with _log_in(service, "NEW-1") as new:
        wait_for(lambda: service.get("/readyz")[0] == 503, 20)
        assert _ready(service) == {"ready": False, "reasons": ["admission"]}
        assert service.metric('dozor_not_ready{reason="admission"}') == 1
        assert service.metric("dozor_store_up") == 1
        with _log_in(service, "PLAIN-1") as known:
            assert known.read(7) == b"#AL#1\r\n", "who is known is served all the same"
        with psycopg.connect(dsn, autocommit=True) as link:
            link.execute("DROP TRIGGER nobody ON terminal")
        assert new.read(7) == b"#AL#1\r\n"
    wait_for(lambda: _ready(service) == {"ready": True, "reasons": []})
    assert service.metric('dozor_not_ready{reason="admission"}') == 0
