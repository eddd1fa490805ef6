"""Pages of people in a real Chromium, at both widths, in all languages: axe's rules, nothing wider than the screen."""

import pytest
from playwright.sync_api import sync_playwright

from tests.ticketing.desk.browsing import AXE, WIDER, Served
from tests.ticketing.desk.parts import PASSWORD, small_fleet
from tests.ticketing.desk_parts import execute
from ticketing.directory.routes import PAGES

SHOWN = sorted(row.path.format(id=1, name="admin") for row in PAGES if row.method == "GET")
LOOKS = {"en": (1440, "dark"), "ru": (390, "light"), "zh": (390, "dark")}
MARKS = {"en": "Save", "ru": "Сохранить", "zh": "保存"}


async def furnish(desk):
    """A fleet, and people of a client."""
    await small_fleet(desk.pool)
    for statement in (
        "INSERT INTO organisation (name, policy, created_at) VALUES ('Север Транс <b>', 'gone', now())",
        "INSERT INTO contact (organisation, name, emails, roles, created_at)"
        " VALUES (1, 'Anna <i>', '{a-rather-long-address-of-somebody@subdomain.example.com}', '{duty}', now())",
        "INSERT INTO contact (organisation, name, created_at) VALUES (1, 'Otto', now())",
        "INSERT INTO vehicle (organisation, name, plate, terminal, created_at)"
        " VALUES (1, 'Truck 12', 'А123ВС 77', 1, now())",
        "UPDATE app_user SET organisations = '{1}' WHERE role = 'client'",
    ):
        await execute(desk.pool, statement)
    await desk.users.token("admin", label="export")


def test_pages_serve_everybody(postgres_dsn, chromium, axe):
    found = []

    def complain(said):
        if getattr(said, "type", "error") == "error":
            found.append(str(said))

    with Served(postgres_dsn, furnish, roles=("admin", "client")) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for role in ("admin", "client"):
            with browser.new_context(bypass_csp=True, locale="ru-RU") as context:
                page = context.new_page()
                page.on("pageerror", complain)
                page.on("console", complain)
                page.goto(f"{served.url}/login")
                assert page.locator("html").get_attribute("lang") == "ru"  # as the browser asks
                page.fill("#username", role)
                page.fill("#password", PASSWORD)
                page.keyboard.press("Enter")
                page.wait_for_url("**/tickets")
                shown = SHOWN if role == "admin" else ["/organisations", "/organisations/1", "/vehicles/1", "/account"]
                for language in MARKS:
                    page.goto(f"{served.url}/account")
                    page.select_option("#f-language", language)
                    page.locator("#settings button").click()
                    page.wait_for_url("**done=settings")
                    assert page.locator("#settings button").inner_text() == MARKS[language]
                    width, scheme = LOOKS[language]
                    page.set_viewport_size({"width": width, "height": 900})
                    page.emulate_media(color_scheme=scheme)
                    for path in shown:
                        page.goto(served.url + path)
                        if page.evaluate(WIDER) > 0:
                            found.append(f"{role} {language} {path}: wider than {width} px")
                        if language != "zh":  # the rules know no languages
                            page.evaluate(axe)
                            found += [f"{role} {width} {scheme} {path}: {each}" for each in page.evaluate(AXE)]
        browser.close()
    assert found == []


@pytest.mark.parametrize("path", SHOWN)
def test_every_page_is_looked_at(path):
    assert "{" not in path
