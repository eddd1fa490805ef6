"""Known errors, templates and reviews in a real Chromium: an engineer's and a lead's way through them, axe's rules."""

from datetime import datetime, timedelta

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.ticketing.desk.browsing import AXE, WIDER, Served, sign_in
from tests.ticketing.desk_parts import add_terminal, execute, fetch, raise_one
from ticketing.quality import reviews
from ticketing.quality.routes import ROUTES
from ticketing.tickets.office import Office
from ticketing.tickets.sampling import bounds, month_of

LOOKS = {"en": (1440, "light"), "ru": (390, "dark"), "zh": (390, "light")}
LONG = "The_pressure_sensor_of_the_second_pump_shows_nothing_at_all_after_the_engine_was_started_in_frost"


async def fill(desk):
    """Two known errors, templates, a silent terminal's ticket, and last month's sample; returns the ticket's number."""
    async with desk.program("manager") as manager:
        for said in (
            {"symptom": "Silent after a cold night", "cause": "the backup battery is empty", "kind": "silence",
             "workaround": "start the engine, wait ten minutes", "link": "https://docs.example/silence#battery"},
            {"symptom": LONG, "cause": "ice in the connector", "public": True, "model": "FMB920"},
        ):  # fmt: skip
            assert (await manager.post("/api/known-errors", json=said)).status_code == 201
        for name, text in (
            ("We look into it", "Good day,\n\nwe look into {number} ({title})."),
            ("Engine", "Please start it."),
        ):
            said = {"name": name, "language": "en", "text": text}
            assert (await manager.post("/api/reply-templates", json=said)).status_code == 201
        now = datetime.fromisoformat((await manager.get("/api/reports/knowledge")).json()["until"])
    terminal = await add_terminal(desk.pool, "352", protocol="teltonika", model="FMB920", name="Truck 12")
    number = (await raise_one(desk.pool, terminal, now.timestamp() - 300)).number
    await execute(desk.pool, "UPDATE ticket SET qualified = true WHERE number = %s", number)
    office = Office(policy="dealer-desk")
    zone = office.terms.policy.zone
    old = bounds(month_of(now, zone), zone)[0] - timedelta(days=10)
    async with desk.pool.connection() as connection:
        await office.terms.keep(connection)
        for author, count in (("engineer", 12), ("manager", 1)):
            for n in range(count):
                rows = await connection.execute(
                    "INSERT INTO ticket (number, kind, state, title, zone, priority, opened_at, closed_at, policy,"
                    " policy_version) VALUES (%s, 'request', 'closed', 'x', 'x', 2, %s, %s, 'dealer-desk', %s)"
                    " RETURNING id",
                    (f"DZ-{author}{n}", old, old, office.terms.policy_version),
                )  # fmt: skip
                (ticket,) = await rows.fetchone()
                await connection.execute(
                    "INSERT INTO ticket_message (ticket, at, direction, public, author, text, channel)"
                    " VALUES (%s, %s, 'out', true, %s, %s, 'api')",
                    (ticket, old, author, f"Please switch it off and on.\n\n{LONG} <b>"),
                )
        await reviews.look(connection, office, 0, now)
    assert await fetch(desk.pool, "SELECT count(*) FROM review") == [(3,)]
    return number


def test_pages_serve_everybody(postgres_dsn, chromium, axe):
    found = []

    def complain(said):
        if getattr(said, "type", "error") == "error":
            found.append(str(said))

    with Served(postgres_dsn, fill, roles=("engineer", "manager", "client")) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        ticket = f"/tickets/{served.found}"
        with browser.new_context(bypass_csp=True) as context:
            page = context.new_page()
            page.on("pageerror", complain)
            page.on("console", complain)
            sign_in(page, served, "engineer", ticket)
            suggestions = page.locator("#known .task")
            expect(suggestions).to_have_count(2)
            expect(page.locator("#checks")).to_contain_text("what is known was looked into red")
            page.get_by_role("button", name="I have read it").first.click()
            expect(page.locator("#known")).to_contain_text("read by engineer")
            expect(page.locator("#checks")).to_contain_text("what is known was looked into green")
            page.get_by_role("button", name="It helped").last.click()
            expect(page.locator("#known .pill")).to_have_text("it helped")
            page.get_by_role("link", name="We look into it").click()
            expect(page.locator("#reply-text")).to_have_value(
                f"Good day,\n\nwe look into {served.found} (Truck 12: silent for 6 min, limit 5 min)."
            )
            page.get_by_role("link", name="Look for others").click()
            page.fill("input[name=search]", "battery")
            page.keyboard.press("Enter")
            expect(page.locator("section.card")).to_have_count(1)
            look(page, served, axe, found, "engineer", (ticket, f"/known-errors?ticket={served.found}"))
        with browser.new_context(bypass_csp=True) as context:
            page = context.new_page()
            page.on("pageerror", complain)
            page.on("console", complain)
            sign_in(page, served, "manager", "/reviews")
            expect(page.locator("#rates h2 .pill")).to_have_text("sample not met")
            form = page.locator("form[action^='/reviews/']").first
            for name in ("polite", "clear", "complete", "official"):
                form.locator(f"input[name={name}]").check()
            form.get_by_role("button").click()
            page.wait_for_url("**#review-*")
            expect(page.locator("h2 .pill", has_text="passed")).to_have_count(1)
            look(page, served, axe, found, "manager", [row.path.format(id=1) for row in ROUTES if is_page(row)])
        with browser.new_context(bypass_csp=True) as context:
            page = context.new_page()
            sign_in(page, served, "client", "/known-errors")
            expect(page.locator("section.card")).to_have_count(1)
            look(page, served, axe, found, "client", ("/known-errors", "/known-errors/2"))
        browser.close()
    assert found == []


def is_page(row):
    return row.method == "GET" and not row.path.startswith("/api/")


def look(page, served, axe, found, role, paths):
    for language, (width, scheme) in LOOKS.items():
        page.goto(f"{served.url}/account")
        page.select_option("#f-language", language)
        page.locator("#settings button").click()
        page.wait_for_url("**done=settings")
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        for path in paths:
            page.goto(served.url + path)
            if page.evaluate(WIDER) > 0:
                found.append(f"{role} {language} {path}: wider than {width} px")
            if language != "zh":  # the rules know no languages
                page.evaluate(axe)
                found += [f"{role} {width} {scheme} {path}: {each}" for each in page.evaluate(AXE)]


@pytest.mark.parametrize("path", [row.path for row in ROUTES if is_page(row)])
def test_every_page_is_looked_at(path):
    assert "{" not in path.format(id=1)
