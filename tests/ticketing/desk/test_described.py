"""What /openapi.json describes is what the desk does: schemathesis asks for everything in it, rightly and wrongly.

With an admin's and with a client's token, on the store of `two_clients`; what is asked for are its names and others.
"""

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.ticketing.desk.browsing import Served
from tests.ticketing.desk.test_every_route import ROLES
from tests.ticketing.desk.two_clients import OWN, fill
from ticketing.kit.throttle import Throttle

SOAK = os.environ.get("DOZOR_SOAK") == "1"
EXAMPLES = 10 if SOAK else 2  # of each operation, right ones and wrong ones
PHASES = "examples,coverage,fuzzing,stateful" if SOAK else "fuzzing"
# A schema does not tell whether a reference leads anywhere, nor what a ticket's state and policy ask for.
ASKED_MORE = [200, 201, 400, 401, 403, 404, 409, 422]
REFUSED = [400, 401, 403, 404, 405, 409, 413, 422]


async def furnish(desk):
    own, _ = await fill(desk)
    return own, {role: await desk.users.token(role) for role in ("admin", "client")}


@pytest.fixture(scope="module")
def served(shared_dsn):
    with Served(shared_dsn, furnish, roles=ROLES, throttle=Throttle(lambda: 0.0)) as served:
        yield served


@pytest.mark.parametrize("role", ["admin", "client"])
def test_the_desk_does_what_it_describes(served, role, tmp_path):
    """No answer is the server's fault, none other than described; what is wrong by the description is refused."""
    own, tokens = served.found
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(configuration(served.url, tokens[role], own))
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "--config-file", settings, "run",
         f"{served.url}/openapi.json", "-n", str(EXAMPLES), "--phases", PHASES, "--generation-database", "none",
         "--no-color", "--continue-on-failure"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_who_sends_too_much_hears_it(served):
    """Also when it is all sent before the answer is looked at: it is read, not reset."""
    own, tokens = served.found
    host, _, port = served.url.rpartition("/")[2].partition(":")
    for size in (200_000, 4 << 20, 20 << 20):
        sent = b'{"text": "' + bytes(size) + b'"}'
        connection = HTTPConnection(host, int(port), timeout=30)
        connection.request(
            "POST", f"/api/tickets/{own.number}/note", sent,
            {"Authorization": f"Bearer {tokens['admin']}", "Content-Type": "application/json"},
        )  # fmt: skip
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read()) == {"error": "more than 131072 bytes"}
        assert connection.sock is None or connection.sock.recv(1) == b""  # and it is closed
        connection.close()


def configuration(url, token, own):
    """What schemathesis reads: the names that are there are asked for more often than any others."""
    names = {
        "number": list(own.tickets.values()),
        "terminal": [own.terminal],
        "id": [str(OWN)],
        "name": ["engineer", own.account],
    }
    lines = [
        f"base-url = {json.dumps(url)}", "seed = 7", 'hooks = "tests.ticketing.desk.new_keys"',
        "[headers]", f'Authorization = "Bearer {token}"',
        *(line for name, values in names.items()
          for line in (f"[dictionaries.{name}]", f"values = {json.dumps(values)}")),
        "[checks.positive_data_acceptance]", f"expected-statuses = {ASKED_MORE}",
        "[checks.negative_data_rejection]", f"expected-statuses = {REFUSED}",
        "[parameters]",
        *(f'"path.{name}" = {{dictionary = "{name}", probability = 0.8}}' for name in names),
        '"query.terminal" = {dictionary = "terminal", probability = 0.5}',
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
