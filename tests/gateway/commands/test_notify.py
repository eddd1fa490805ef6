"""`dozor notify test` as its user sees it."""

import json
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from aiosmtpd.controller import Controller


@pytest.fixture
def receiver():
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            calls.append((dict(self.headers), body))
            self.send_response(200 if self.path == "/good" else 500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", calls
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mailbox():
    letters = []

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            letters.append(envelope)
            return "250 taken"

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    yield port, letters
    controller.stop()


def notify(tmp_path, text):
    config = tmp_path / "dozor.toml"
    config.write_text(f'data_dir = "{tmp_path / "data"}"\n{text}')
    command = [sys.executable, "-m", "gateway.cli", "notify", "test", "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_one_letter_and_one_call_to_each_channel(tmp_path, receiver, mailbox):
    url, calls = receiver
    port, letters = mailbox
    (tmp_path / "secret").write_text("key\n")
    done = notify(
        tmp_path,
        f'[mail]\nhost = "127.0.0.1"\nport = {port}\nfrom = "dozor@desk.example"\n'
        'to = ["a@example.org", "b@example.org"]\n'
        f'[[webhook]]\nurl = "{url}/good"\nsecret_file = "secret"\n[[webhook]]\nurl = "{url}/bad?token=hidden"\n',
    )
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"email 127.0.0.1:{port}: delivered",
        f"webhook {url}: delivered",
        f"webhook {url}: failed: answered 500",
    ]
    assert "hidden" not in done.stdout + done.stderr
    assert [envelope.rcpt_tos for envelope in letters] == [["a@example.org", "b@example.org"]]
    assert len(calls) == 2
    headers, body = next(call for call in calls if "Dozor-Signature" in call[0])
    assert re.fullmatch(r"t=\d+,v1=[0-9a-f]{64}", headers["Dozor-Signature"])
    assert json.loads(body)["event"] == "notify.test"


def test_no_channel_is_said(tmp_path):
    done = notify(tmp_path, "")
    assert done.returncode == 1
    assert "no channel is configured" in done.stderr
