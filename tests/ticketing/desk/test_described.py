"""What /openapi.json describes is what the desk does: schemathesis asks for everything in it, rightly and wrongly.

With an admin's and with a client's token, on the store of `two_clients`; what is asked for are its names and others.
"""

import json
import os
import subprocess
import sys
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
