"""A service with a configuration file of its own, certificates, and a Teltonika terminal on a plain socket."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import psycopg
import pytest

from protocols.teltonika.declaration import CODEC_8, avl_frame, avl_record, login
from tests.harness import ServiceProcess, data_directory, free_port, give_store

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Configured:
    """A running service whose file can be rewritten. ``<<name>>`` in it is a free port, always the same."""

    def __init__(self, service: ServiceProcess, file: Path) -> None:
        self.service = service
        self.file = file
        self.ports: dict[str, int] = {}
        self.cert = Path()  # what clients trust, where there are TLS listeners
        self._dsn = ""

    def write(self, text: str) -> None:
        """Make `text` the file's content."""
        for name in re.findall("<<(.*?)>>", text):
            text = text.replace(f"<<{name}>>", str(self.ports.setdefault(name, free_port())))
        self.file.write_text(text)

    def reload(self, text: str) -> str:
        """Rewrite the file, send SIGHUP; the log line that answers it."""
        seen = self.log().count("configuration ")
        self.write(text)
        assert self.service.process is not None
        self.service.process.send_signal(1)
        wait_for(lambda: self.log().count("configuration ") > seen)
        return [line for line in self.log().splitlines() if '"configuration ' in line][-1]

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """Rows of a query on the store."""
        self._dsn = self._dsn or self.service.dsn
        with psycopg.connect(self._dsn) as link:
            return link.execute(sql.encode(), values or None).fetchall()

    def refused(self, reason: str) -> int:
        """Connections refused for that reason."""
        return int(self.service.metric(f'dozor_connections_refused_total{{reason="{reason}"}}'))

    def log(self) -> str:
        """All it has logged."""
        return self.service.log.read_text(errors="replace")


@contextmanager
def configured(text: str, *arguments: str) -> Iterator[Configured]:
    """A ready service that reads `text`; `arguments` of `serve`."""
    with data_directory() as folder:
        file = folder.parent / "dozor.toml"
        give_store(folder)
        service = ServiceProcess(folder, DOZOR_CONFIG=str(file))
        del service.environment["DOZOR_LISTEN"]
        service.arguments = list(arguments)
        found = Configured(service, file)
        found.write(text)
        try:
            service.start()
            yield found
            assert service.stop() == 0, service.tail()
            assert "Traceback" not in found.log(), found.log()
        finally:
            service.end()


def wait_for(condition: Callable[[], object], within: float = 10.0) -> None:
    """Until `condition` holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for `name`, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the program openssl, which makes certificates, is not on this machine")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, *names, "-days", "2", "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def header(
    source: str, port: int = 40_000, *, command: int = 0x21, family: int | None = None, tlv: bytes = b""
) -> bytes:
    """A PROXY header of version 2."""
    address = ip_address(source).packed
    body = address + address + struct.pack(">HH", port, 5027) + tlv
    kind = family if family is not None else 0x11 if len(address) == 4 else 0x21
    return SIGNATURE + bytes([command, kind]) + len(body).to_bytes(2, "big") + body


class Terminal:
    """A Teltonika terminal; each record gets a time of its own."""

    def __init__(
        self,
        imei: str,
        port: int,
        *,
        source: str = "127.0.0.1",
        before: bytes = b"",
        tls: ssl.SSLContext | None = None,
        name: str = "gateway",
        together: bool = False,
    ) -> None:
        self.imei = imei
        self.time = int(time.time() * 1000) - 1_000_000
        plain = socket.create_connection(("127.0.0.1", port), 5, source_address=(source, 0))
        if before and not together:
            plain.sendall(before)
        self.socket: socket.socket = plain
        if tls is not None:
            self.socket = tls.wrap_socket(plain, server_hostname=name)
        self.before = before if together else b""

    def login(self) -> bytes:
        """Say who it is; the answer, empty where the connection ends instead."""
        self.socket.sendall(self.before + login(self.imei))
        return self.read(1)

    def send(self, records: int = 1) -> None:
        """One frame."""
        rows = [avl_record(timestamp=self.time + n, latitude=1, longitude=2, satellites=9) for n in range(records)]
        self.time += records
        self.socket.sendall(avl_frame(CODEC_8, rows))

    def ack(self) -> int:
        """The next ack, commands to the terminal read over; -1 where the connection ends instead."""
        while True:
            word = self.read(4)
            if len(word) < 4:
                return -1
            if word != bytes(4):
                return int.from_bytes(word, "big")
            self.read(int.from_bytes(self.read(4), "big") + 4)

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes, fewer where the connection ends before."""
        data = b""
        try:
            while len(data) < count:
                piece = self.socket.recv(count - len(data))
                if not piece:
                    break
                data += piece
        except ConnectionError:
            pass
        return data

    def ended(self) -> bool:
        """Whether the gateway closes the connection; waits for it, and reads over what still comes."""
        try:
            self.read(1 << 20)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
