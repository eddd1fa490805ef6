"""The days of those who have no walk of their own elsewhere: an admin's, an auditor's, and a crew's on its phone."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.ticketing.desk.browsing import WIDER, Served, picture, sign_in
from tests.ticketing.desk.parts import PASSWORD
from tests.ticketing.desk.test_browser_forms import furnish
from tests.ticketing.desk_parts import execute
from tests.ticketing.mail.test_pages import judge_of
from ticketing.kit.settings import DeskSettings

ROLES = ("admin", "manager", "auditor", "crew", "client")


async def more(desk):
    """Besides, a visit of the crew to the ticket's vehicle."""
    number, _ = await furnish(desk)
    await execute(desk.pool, "INSERT INTO visit (vehicle, crew, created_at) VALUES (1, 'crew', now())")
    await execute(
        desk.pool, "INSERT INTO visit_ticket (visit, ticket) SELECT 1, id FROM ticket WHERE number = %s", number
    )
    return number


@pytest.fixture(scope="module")
def served(shared_dsn):
    settings = DeskSettings(refresh=1, version="test")
    with Served(shared_dsn, more, roles=ROLES, judge=judge_of, settings=settings) as served:
        yield served


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    complaints = []
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        yield page
    assert complaints == []


def test_an_admins_day(served, page):
    """What cannot work is seen and mended, and somebody new gets an account and signs in."""
    sign_in(page, served, "admin", "/settings")
    notice = page.locator("#notices a").first
    expect(notice).to_be_visible()
    picture(page, "admin")
    page.locator("#new input[name=name]").fill("igor")
    page.locator("#new select[name=role]").select_option("engineer")
    page.locator("#new input[name=password]").fill(PASSWORD)
    page.locator("#new").get_by_role("button", name="Add").click()
    expect(page.locator("#users tbody tr", has_text="igor")).to_contain_text("engineer")
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, served, "igor", "/tickets")
    assert page.request.get(f"{served.url}/settings").status in (403, 404)


def test_an_auditors_day(served, page):
    """All is seen and nothing can be done, but a call can be heard: which the ticket's journal tells."""
    ticket = f"/tickets/{served.found}"
    sign_in(page, served, "auditor", ticket)
    expect(page.locator("#journal")).to_be_visible()
    assert page.locator("main form[method=post]").count() == 0
    page.goto(f"{served.url}/recordings")
    page.get_by_role("button", name="Listen").first.click()
    expect(page.locator("main a[href^=https]")).to_be_visible()
    page.goto(served.url + ticket)
    heard = page.locator("#journal", has_text="listened to a recording")
    expect(heard).to_be_visible()
    picture(page, "auditor")


def test_a_crews_day(served, page):
    """On a phone: its own ticket, where the vehicle is and whom to call, and a word of what was found."""
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, served, "crew")
    page.locator(f"#t-{served.found} a").first.click()
    page.wait_for_url(f"**/tickets/{served.found}")
    assert page.evaluate(WIDER) <= 0
    page.fill("#text", "The fuse of the unit was blown")
    page.get_by_role("button", name="Note").click()
    expect(page.locator("#stream .said").last).to_have_text("The fuse of the unit was blown")
    assert page.locator("#withdraw").count() == 0
    picture(page, "crew")
    assert page.request.get(f"{served.url}/settings").status in (403, 404)
