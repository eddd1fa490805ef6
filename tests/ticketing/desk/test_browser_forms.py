"""New ticket, outages, inbox and portal in a real Chromium: by keyboard, at both widths, light and dark."""

import os
from datetime import date, timedelta

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.ticketing.desk.browsing import AXE, WIDER, Served, picture, sign_in
from tests.ticketing.desk_parts import add_terminal, done, execute, fetch, raise_one
from tests.ticketing.mail.test_pages import judge_of, receive
from tests.ticketing.mail.world import mail
from ticketing.desk.app import FEATURES
from ticketing.directory import routes as directory
from ticketing.kit.settings import DeskSettings
from ticketing.quality import routes as quality

ROLES = ("manager", "client")
LOOKS = [("en", 1440, "light"), ("ru", 390, "light"), ("zh", 390, "dark")]
if os.environ.get("DOZOR_SOAK"):
    LOOKS.append(("ru", 1440, "dark"))
MARKS = {"en": "New ticket", "ru": "Новая заявка", "zh": "新工单"}
LONG = "a-rather-long-address-of-somebody@subdomain.of.a.long.example.com"
# By role; T is the client's ticket that waits for an answer.
PAGES = {
    "manager": (
        "/tickets", "/tickets/new", "/tickets/new?contact=1", "/tickets/new?q=a", "/tickets/T", "/outages", "/mail",
        "/mail?verdict=failing", "/mail/1", "/mail/2", "/recordings?ticket=DZ-1", "/recordings", "/reloads",
    ),
    "client": ("/tickets", "/tickets/new", "/tickets/T", "/reloads"),
}  # fmt: skip


async def furnish(desk):
    """A client's ticket that waits for two answers, a letter that opened one, and one that is held."""
    terminal = await add_terminal(desk.pool, "350000000000017", protocol="teltonika", name="Truck 12")
    for statement in (
        "INSERT INTO organisation (name, policy, contract, created_at)"
        " VALUES ('Север Транс <b>', 'support-procedure', '{}', now())",
        "INSERT INTO contact (organisation, name, phones, emails, created_at)"
        f" VALUES (1, 'Anna <i>', '{{+79990000001}}', '{{ann@acme.example,{LONG}}}', now())",
        "INSERT INTO vehicle (organisation, name, plate, plate_key, terminal, created_at)"
        f" VALUES (1, 'Truck 12', 'А123ВС 77', 'A123BC77', {terminal}, now())",
        "UPDATE app_user SET organisations = '{1}' WHERE role = 'client'",
        "INSERT INTO outage (key, started_at, ended_at, told_at, terminals) VALUES"
        " ('declared/Карты, отчёты', now() - interval '9 h', now() - interval '7 h', now() - interval '8 h', NULL),"
        " ('platform/gateway/gw-eu-1.telematics.example.com', now() - interval '3 d', now() - interval '2 d', NULL,"
        " '{1,2,3}'), ('declared/Web portal', now() - interval '20 min', NULL, NULL, NULL)",
        "INSERT INTO mailbox_position (mailbox, uidvalidity, uid, failing_since, error) VALUES"
        f" ('imap {LONG}@imap.example.com:993/INBOX', 0, 0, now() - interval '3 h', 'TimeoutError: timed out')",
    ):
        await execute(desk.pool, statement)
    found = await raise_one(desk.pool, terminal, desk.tickets._clock().timestamp() - 300)
    number = found.number
    await execute(desk.pool, "UPDATE ticket SET organisation = 1, vehicle = 1")
    for state, share in (("queued", 0), ("running", 0.333), ("done", 1), ("failed", 0.5)):
        await execute(
            desk.pool, "INSERT INTO reload (ticket, terminal, since, until, state, asked_at, asked_by, not_before,"
            " share, begun_at, tried_at, finished_at, reason) SELECT id, %s, now() - interval '2 d',"
            " now() - interval '1 d', %s, now(), %s, now(), %s, now(), CASE WHEN %s THEN now() END,"
            " CASE WHEN %s THEN now() END, 'the terminal refused it: *Z:' || repeat('x', 80) FROM ticket",
            terminal, state, LONG, share, state == "running", state in ("done", "failed"),
        )  # fmt: skip
    for consent in (True, False):
        await execute(
            desk.pool, "INSERT INTO recording (ticket, link, consent, called_at, until, created_at, created_by)"
            " SELECT id, 'https://recorder.example/1', %s, now(), now() + interval '9 d', now(), %s FROM ticket",
            consent, LONG,
        )  # fmt: skip
    await done(desk.tickets, "take", number, "manager")
    until = desk.tickets._clock() + timedelta(days=9)
    await done(desk.tickets, "permit", number, "manager", by=LONG, means="mail", until=until)
    await done(desk.tickets, "entrust", number, "manager", label=LONG, secret="birch and oak")
    await done(desk.tickets, "ask", number, "manager", items=["Is the mass switch on?", "Где стоит машина?"])
    await receive(desk, mail(subject="Нет данных с утра", text="Машина молчит."))
    ((opened,),) = await fetch(desk.pool, "SELECT max(number) FROM ticket")
    subject, text = f"[#{opened}] " + "let me in " * 9, "x" * 200 + "\n\n\nHello"
    held = await receive(desk, mail(sender=f"Eve <eve.{LONG}>", subject=subject, text=text))
    return number, held


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def speaks(page, served, language):
    page.goto(f"{served.url}/account")
    page.select_option("#f-language", language)
    page.locator("#settings button").click()
    page.wait_for_url("**done=settings")


def test_pages_serve_everybody_and_work_by_keys(postgres_dsn, browser, axe):
    found = []

    def complain(said):
        text = str(getattr(said, "text", said))
        if getattr(said, "type", "error") == "error" and "status of 422" not in text:  # the form that is wrong below
            found.append(text)

    settings = DeskSettings(refresh=1, version="test")
    with Served(postgres_dsn, furnish, roles=ROLES, judge=judge_of, settings=settings) as served:
        for role in ROLES:
            with browser.new_context(bypass_csp=True) as context:
                page = context.new_page()
                page.on("pageerror", complain)
                page.on("console", complain)
                page.on("dialog", lambda dialog: complain(dialog.message))
                sign_in(page, served, role)
                for language, width, scheme in LOOKS:
                    speaks(page, served, language)
                    page.set_viewport_size({"width": width, "height": 900})
                    page.emulate_media(color_scheme=scheme)
                    for path in PAGES[role]:
                        page.goto(served.url + path.replace("/T", f"/{served.found[0]}"))
                        if path == "/tickets/new":
                            assert page.locator("h1").inner_text() == MARKS[language]
                        if page.evaluate(WIDER) > 0:
                            found.append(f"{role} {language} {path}: wider than {width} px")
                        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
                        if page.evaluate(WIDER) > 0:
                            found.append(f"{role} {language} {path}, all open: wider than {width} px")
                        if language == "ru":  # the rules know no languages: each width and each scheme once is enough
                            continue
                        page.evaluate(axe)
                        found += [f"{role} {width} {scheme} {path}: {each}" for each in page.evaluate(AXE)]
                speaks(page, served, "en")
                page.set_viewport_size({"width": 1440, "height": 900})
                {"manager": a_managers_hour, "client": a_clients_question}[role](page, served)
    assert not found, "\n".join(found)


def a_managers_hour(page, served):
    """A call, a held mail and an outage, by the keyboard alone."""
    page.goto(f"{served.url}/tickets")
    expect(page.locator("#mailboxes .alert")).to_contain_text("cannot be read")
    page.goto(f"{served.url}/tickets/new")
    expect(page.locator("#who")).to_be_focused()
    page.keyboard.type("8 999 000-00-01")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Anna <i>").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**contact=1")
    expect(page.locator("#open")).to_contain_text(served.found[0])
    page.locator("#f-subject").focus()
    page.keyboard.type("x")
    page.locator("#f-vehicle").fill("no such thing")
    page.locator("#f-subject").press("Enter")  # the form is sent; what is wrong is said beside its field
    expect(page.locator("#f-vehicle-wrong")).to_contain_text("no terminal")
    expect(page.locator("#f-vehicle")).to_be_focused()
    page.locator("#f-vehicle").fill("а123вс77")
    page.set_input_files("#f-files", [{"name": "cab.txt", "mimeType": "text/plain", "buffer": b"seen"}])
    page.locator("#f-new").check()
    page.evaluate("{ const form = document.querySelector('#form form'); form.requestSubmit(); form.requestSubmit(); }")
    page.wait_for_url("**/tickets/DZ-*")
    expect(page.locator("#stream .files a")).to_have_text("cab.txt")

    page.goto(f"{served.url}/mail")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/mail/{served.found[1]}")
    page.get_by_role("button", name="Let it in").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .pill")).to_have_text("joined its ticket")

    page.goto(f"{served.url}/outages")
    page.locator("#new summary").focus()
    page.keyboard.press("Enter")
    page.locator("#new-service").fill("Maps")
    page.keyboard.press("Enter")
    expect(page.locator(".away")).to_have_count(2)
    page.locator(".away", has_text="Maps").get_by_role("button", name="Service is back").click()
    expect(page.locator("#over tbody tr").first).to_contain_text("Maps")
    picture(page, "manager")


def a_clients_question(page, served):
    """Each question answered apart, a file with it; then the ticket is withdrawn."""
    page.goto(f"{served.url}/tickets/{served.found[0]}")
    page.get_by_label("Is the mass switch on?").fill("Yes, it is")
    page.set_input_files("#text-files", [{"name": "switch.txt", "mimeType": "text/plain", "buffer": b"on"}])
    page.get_by_role("button", name="Send message").click()
    expect(page.locator("#facts .pill")).to_have_text("In work")
    expect(page.locator("#stream .in .said").last).to_have_text("Is the mass switch on?: Yes, it is")
    expect(page.locator("#stream .files a")).to_have_text("switch.txt")
    page.locator("#given summary", has_text="Allow work from afar").focus()
    page.keyboard.press("Enter")
    page.locator("#permit-until").fill(f"{date.today() + timedelta(days=9)}T09:30")
    page.locator("#permit-text").fill("Restart it " * 9)
    page.get_by_role("button", name="Allow work from afar").click()
    expect(page.locator("#given form.line")).to_have_count(2)
    page.locator("#given form.line", has_text="Restart it").get_by_role("button", name="Take back").click()
    expect(page.locator("#given form.line")).to_have_count(1)
    expect(page.locator("#given")).to_contain_text("over since")
    picture(page, "client")
    page.locator("#withdraw summary").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Withdraw").click()
    expect(page.locator("#facts .pill")).to_have_text("Closed")
    expect(page.locator("#withdraw")).to_have_count(0)


def test_every_page_of_these_features_is_looked_at():
    shown = {path.partition("?")[0] for paths in PAGES.values() for path in paths}
    elsewhere = (directory.ROUTES, quality.ROUTES)  # their own tests look at them
    for row in (row for rows in FEATURES if rows not in elsewhere for row in rows):
        if row.method == "GET" and not row.path.startswith("/api/") and "attachments" not in row.path:
            assert row.path in shown or row.path.replace("{id}", "1") in shown, row.path
