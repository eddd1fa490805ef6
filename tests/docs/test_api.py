"""The examples of docs/api.md are asked, in their order, of the real desk over a real store.

In an answer `"…"` stands for any value, and a key `"…"` for whatever else there is.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.ticketing.desk.parts import add_records, site
from tests.ticketing.desk_parts import Clock, add_terminal, fetch, raise_one
from ticketing.channels.webhook import signature
from ticketing.core.outbox import Target

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```http\n(GET|POST) (\S+)\n(?:\n(.*?)\n)?```\n\n(\d+):\n\n```json\n(.*?)\n```", PAGE, re.DOTALL)
WEBHOOK = re.search(r"## Webhooks.*?```json\n(.*?)\n```", PAGE, re.DOTALL)
VERIFY = re.search(r"```python\n(.*?)\n```", PAGE, re.DOTALL)


def differ(shown: Any, told: Any, at: str = "answer") -> list[str]:
    """Where what is shown is not what was told."""
    if shown == "…":
        return []
    if isinstance(shown, dict) and isinstance(told, dict):
        keys = set(shown) - {"…"}
        odd = keys - set(told) if "…" in shown else keys ^ set(told)
        return [f"{at}: {sorted(odd)}"] * bool(odd) + [
            each for key in keys & set(told) for each in differ(shown[key], told[key], f"{at}.{key}")
        ]
    if isinstance(shown, list) and isinstance(told, list) and len(shown) == len(told):
        return [each for n, pair in enumerate(zip(shown, told, strict=True)) for each in differ(*pair, f"{at}[{n}]")]
    return [] if shown == told else [f"{at}: {told!r} is shown as {shown!r}"]


def test_every_example_is_what_the_desk_answers(postgres_dsn: str) -> None:
    async def scenario() -> tuple[list[str], Any]:
        async with site(postgres_dsn) as desk, desk.program("engineer") as client:
            terminal = await add_terminal(desk.pool, "860000000000001", name="Truck 12", protocol="teltonika")
            levels = [[1200.0]] * 20 + [[3000.0]] * 20  # a refuelling: the example's
            noon = datetime(2026, 11, 16, 12, tzinfo=UTC)
            await add_records(desk.pool, terminal, 40, end=noon, step=60, layout=("fuel.level.1",), measures=levels)
            await raise_one(desk.pool, terminal, targets=[Target("webhook", "https://example.com/hook")])
            desk.tickets._clock = clock = Clock()
            wrong = []
            for method, url, body, status, shown in EXAMPLES:
                clock.now += 900
                answer = await client.request(method, url, **({"json": json.loads(body)} if body else {}))
                if answer.status_code != int(status):
                    wrong.append(f"{method} {url}: {answer.status_code}")
                wrong += differ(json.loads(shown), answer.json(), f"{method} {url}")
            return wrong, json.loads((await fetch(desk.pool, "SELECT body FROM outbox"))[0][0])

    assert len(EXAMPLES) == PAGE.count("```http") > 5
    wrong, told = asyncio.run(scenario())
    assert wrong == []
    assert WEBHOOK is not None
    assert differ(json.loads(WEBHOOK[1]), told) == []


@pytest.mark.parametrize(
    ("secret", "now", "good"), [(b"key", 1000, True), (b"other", 1000, False), (b"key", 1000 + 301, False)]
)
def test_the_signature_is_checked_as_shown(secret: bytes, now: int, good: bool) -> None:
    assert VERIFY is not None
    space: dict[str, Any] = {}
    exec(VERIFY[1], space)  # our own page
    body = b'{"event":"ticket.opened"}'
    assert space["genuine"](signature(b"key", 1000, body), body, secret, now) is good
