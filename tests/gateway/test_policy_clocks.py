"""The policy's clock from the outside: `DOZOR_DESK__POLICY`, a terminal that falls silent, the ticket by the API."""

import asyncio
import json
import time
import urllib.request
from datetime import datetime, timedelta

import pytest

from tests.harness import Tracker, running_service

QUICK = {
    "DOZOR_WATCH__SILENCE__FLOOR": "1s",
    "DOZOR_WATCH__SILENCE__CEILING": "2s",
    "DOZOR_WATCH__INCIDENTS__HOLD": "0",
}


def call(service, token, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{service.ports['desk']}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize(
    "policy", ["after-sales", pytest.param("dealer-desk", marks=pytest.mark.soak), "integrator-standard@1"]
)
def test_due_follows_the_policy(policy):
    with running_service(DOZOR_DESK__POLICY=policy, **QUICK) as service:
        added = service.command(
            "user", "add", "anna", "--role", "engineer", "--password-stdin", text="a long enough one\n"
        )
        assert added.returncode == 0, added.stderr
        token = service.command("user", "token", "anna").stdout.strip()
        asyncio.run(a_moment_of_life(service))
        ticket = first_ticket(service, token)
        path = f"/api/tickets/{ticket['number']}"
        whole = call(service, token, path)
        assert service.log.read_text().count('"calendar ends"') <= 4
        assert service.metric('dozor_calendar_known_until_seconds{calendar="RU"}') > 1.83e9
        if policy == "dealer-desk":
            assert (ticket["due_at"], whole["due_at"], whole["clocks"]) == (None, None, [])
            return
        due = datetime.fromisoformat(ticket["due_at"])
        clock = whole["clocks"][0]
        assert datetime.fromisoformat(clock["due"]) == due
        if policy == "after-sales":
            assert due == datetime.fromisoformat(ticket["opened_at"]) + timedelta(minutes=10)
        told = service.command(
            "clock", "--policy", policy, "--clock", clock["clock"], "--start", ticket["opened_at"], "--json"
        )
        assert json.loads(told.stdout)["due"] == clock["due"]
        asked = call(service, token, f"{path}/ask", {"text": "in the workshop?"})
        # The client was asked: the reply is given; what is left is held, or knows no waiting as a loan unit does.
        left = {
            clock["due"] and datetime.fromisoformat(clock["due"]) for clock in asked["clocks"] if not clock["stopped"]
        }
        assert left <= {None, datetime.fromisoformat(ticket["opened_at"]) + timedelta(hours=2)}
        assert (asked["due_at"] is None) == (left <= {None})
        taken = call(service, token, f"{path}/take", {})
        assert taken["clocks"][0]["verdict"] == "met"
        assert (taken["due_at"] is None) == (policy != "after-sales")  # where the repair has its own clock


async def a_moment_of_life(service):
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(1.0, until.set)
    await Tracker("860000000000077", service.ports["teltonika"], 0.2).run(until)


def first_ticket(service, token):
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        found = call(service, token, "/api/tickets")["items"]
        if found:
            return found[0]
        time.sleep(0.2)
    raise AssertionError(f"no ticket: {service.tail()}")
