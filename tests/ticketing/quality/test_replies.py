"""Reply templates: which braces a text may have, what a ticket fills in, in whose language they are offered."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from tests.ticketing.desk.parts import site
from tests.ticketing.desk_parts import execute, fetch
from ticketing.model.states import State
from ticketing.model.tickets import Eta, Ticket
from ticketing.quality.reply_templates import UNKNOWN, VARIABLES, filled

MOSCOW = ZoneInfo("Europe/Moscow")
NOW = datetime(2026, 11, 16, 10, 0, tzinfo=UTC)
EVIL = "<script>alert(1)</script>{number}{7*7}{{7*7}}%s"


def ticket(**said):
    fields = {
        "number": "DZ-17", "kind": "silence", "state": State.NEW, "title": "No data", "zone": "unknown", "priority": 2,
        "terminal": "352", "opened_at": NOW, "due_at": None, "verdict": None, "client": "Acme", "vehicle": "A001AA",
        "owner": "igor", "reporter_name": "Ann", "evidence": {}, "journal": [],
    }  # fmt: skip
    return Ticket(**(fields | said))


def test_a_template_is_filled_by_the_ticket_alone():
    text = "".join(f"{{{name}}};" for name in VARIABLES)
    eta = Eta(at=NOW, basis=None, version=1)
    assert filled(text, ticket(eta=eta), MOSCOW) == (
        "DZ-17;No data;Acme;Ann;A001AA;352;igor;2026-11-16 13:00;2026-11-16 13:00;"
    )
    bare = ticket(client=None, reporter_name=None, vehicle=None, terminal=None, owner=None)
    assert filled("{client}{reporter}{vehicle}{terminal}{engineer}{eta}", bare, MOSCOW) == UNKNOWN * 6
    assert filled("{title}", ticket(title=EVIL), MOSCOW) == EVIL, "what a ticket brings is not read again"
    assert filled("{title}!", ticket(title="a\r\n b\n\n" + "c" * 900), MOSCOW) == "a b " + "c" * 196 + "!"
    assert len(filled("{title}" * 500, ticket(title="x" * 300), MOSCOW)) == 10_000


OTHER_BRACES = ("{owner}", "{number", "number}", "{ number }", "{{number}}", "{number.x}", "{}", "  ")


def test_any_other_brace_is_refused(shared_dsn):
    async def main():
        async with site(shared_dsn, roles=("admin",)) as desk, desk.program("admin") as admin:
            for text in OTHER_BRACES:
                said = {"name": "other", "language": "en", "text": text}
                answer = await admin.post("/api/reply-templates", json=said)
                assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "text"), text

    asyncio.run(main())


def test_they_are_offered_in_the_clients_language_by_those_who_reply(shared_dsn):
    async def main():
        async with site(shared_dsn, roles=("manager", "engineer", "client")) as desk:
            await execute(desk.pool, "DELETE FROM reply_template")
            ((organisation,),) = await fetch(
                desk.pool, "INSERT INTO organisation (name, language, time_zone, created_at) VALUES ('Vostok', 'ru',"
                " 'Asia/Vladivostok', %s) RETURNING id", NOW,
            )  # fmt: skip
            async with desk.program("manager") as manager, desk.program("engineer") as engineer:
                for name, language, text in (
                    ("Wait", "en", "We look into {number}"), ("Ждём", "ru", "По {number}: {title}, с {opened}"),
                    ("Старое", "ru", "x"), ("等", "zh", "{number}"),
                ):  # fmt: skip
                    said = {"name": name, "language": language, "text": text, "active": name != "Старое"}
                    assert (await manager.post("/api/reply-templates", json=said)).status_code == 201
                    assert (await engineer.post("/api/reply-templates", json=said)).status_code == 403
                    assert (await manager.post("/api/reply-templates", json=said)).status_code == 422, "once a language"
                said = {"channel": "api", "subject": EVIL, "organisation": organisation}
                made = (await engineer.post("/api/tickets", json=said)).json()
                path = f"/tickets/{made['number']}"
                at = datetime.fromisoformat(made["opened_at"]).astimezone(ZoneInfo("Asia/Vladivostok"))
                (one,) = (await engineer.get(f"/api{path}/reply-templates")).json()["items"]
                assert one["text"] == f"По {made['number']}: {EVIL}, с {at:%Y-%m-%d %H:%M}"
                (english,) = (await engineer.get(f"/api{path}/reply-templates?language=en")).json()["items"]
                assert english["text"] == f"We look into {made['number']}"
                assert (await engineer.get(f"/api{path}/reply-templates?language=de")).status_code == 400
                async with desk.signed_in("engineer") as browser:
                    page = (await browser.get(f"{path}?template={one['template']}")).text
                    assert f'href="?template={one["template"]}#reply">Ждём</a>' in page
                    assert "Wait</a>" not in page
                    written = page.partition('<textarea id="reply-text"')[2].partition("</textarea>")[0]
                    assert f"По {made['number']}: &lt;script&gt;alert(1)&lt;/script&gt;" in written
                    assert "<script>alert" not in page
                    for nothing in ("0", "x", str(english["template"])):
                        page = (await browser.get(f"{path}?template={nothing}")).text
                        assert (
                            page.partition('<textarea id="reply-text"')[2].partition(">")[2].startswith("\n</textarea>")
                        )
            async with desk.program("client") as client:
                assert (await client.get("/api/reply-templates")).status_code == 403

    asyncio.run(main())
