"""The desk in a real Chromium over a real server: forms, clocks, refreshing, keys, and no complaint of the browser."""

import os

import pytest
from playwright.sync_api import expect, sync_playwright
from starlette.routing import Route

from tests.ticketing.desk.browsing import AXE, Served, picture, sign_in
from tests.ticketing.desk.parts import PASSWORD, add_records, small_fleet
from tests.ticketing.desk_parts import add_terminal, done, raise_one
from ticketing.commands import STATES
from ticketing.desk import login, pages
from ticketing.desk.app import routes
from ticketing.kit.settings import DeskSettings

BOTH = ("light", "dark")
LOOKS = {1440: BOTH, 390: BOTH} if os.environ.get("DOZOR_SOAK") else {1440: BOTH[:1], 390: BOTH[1:]}  # width: schemes

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def desk(dsn):
    """An engineer's, with a small fleet."""
    settings = DeskSettings(refresh=1, live=1)
    return Served(dsn, lambda desk: small_fleet(desk.pool), roles=("engineer",), settings=settings)


@pytest.fixture(scope="module")
def browser(chromium):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    complaints = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: None if "127.0.0.1" in request.url else complaints.append(request.url))
        yield page
    assert complaints == []


def test_an_engineers_morning(postgres_dsn, page):
    with desk(postgres_dsn) as served:
        new, recovered = served.found["new"], served.found["recovered"]
        page.goto(f"{served.url}/tickets/{new}")
        page.fill("#username", "engineer")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/tickets/{new}")  # where the link led

        clock = page.locator("#facts .clock")
        before = clock.inner_text()
        assert "left" in before
        page.get_by_role("button", name="Take").click()
        expect(page.locator("#facts .pill")).to_have_text("In work")
        expect(clock).to_have_text("Reaction in time")
        page.fill("#text", EVIL)
        page.get_by_role("button", name="Note").click()
        expect(page.locator("#journal .said").last).to_have_text(EVIL)
        page.fill("#text", "still typing")
        served.call(lambda desk: done(desk.tickets, "note", new, "engineer", "from elsewhere"))
        expect(page.locator("#journal .said").last).to_have_text("from elsewhere")
        assert page.input_value("#text") == "still typing"
        picture(page, "engineer")

        page.goto(f"{served.url}/tickets/{recovered}")
        page.fill("#text", "Mr Ivanov agreed by phone")
        page.get_by_role("button", name="Record consent").click()
        page.get_by_role("button", name="Close").click()
        expect(page.locator("#facts .pill")).to_have_text("Closed")

        page.goto(f"{served.url}/tickets")
        expect(page.locator("tbody tr")).to_have_count(3)

        async def one_more(desk):
            terminal = await add_terminal(desk.pool, "77009", name=EVIL)
            return (await raise_one(desk.pool, terminal, desk.tickets._clock().timestamp(), reason=EVIL)).number

        number = served.call(one_more)
        expect(page.locator(f"#t-{number}")).to_have_class("state-row-new fresh")
        ticking = page.locator(f"#t-{number} .clock")
        assert "left" in ticking.inner_text()

        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.closest('tr').id").startswith("t-DZ-")
        page.keyboard.press("/")
        page.keyboard.type("77009")
        page.keyboard.press("Enter")
        page.wait_for_url("**/terminals/77009")
        page.goto(f"{served.url}/terminals/352093081429150")
        expect(page.locator("svg.map .way")).to_have_count(1)
        page.select_option("select[name=measure]", "ignition")
        page.wait_for_url("**measure=ignition**")
        expect(page.locator("svg.chart")).to_have_count(1)

        page.set_viewport_size({"width": 360, "height": 700})
        for path in (
            "/tickets",
            f"/tickets/{new}",
            "/terminals",
            "/terminals/352093081429150",
            "/fleet",
            "/incidents",
            "/incidents/1",
            "/quarantine",
            "/quarantine/1",
            BYTES,
        ):
            page.goto(served.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert page.evaluate(
                "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
                ".every(field => field.labels.length > 0)"
            ), path
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")


BYTES = "/bytes?bytes=000f333532303933303831343239313530&protocol=teltonika"
PAGES = [
    "/tickets",
    "/terminals",
    "/terminals/352093081429150",
    "/fleet",
    "/incidents",
    "/incidents/1",
    "/quarantine",
    "/quarantine/1",
    BYTES,
    "/bytes?frame=1",
    "/bytes?bytes=x",
    "/search?q=7",
    "/search?q=nothing",
    "/login",
]


def test_every_page_is_looked_at():
    shown = [route for route in routes() if isinstance(route, Route) and "GET" in route.methods]
    shown = [route for route in shown if route.endpoint.__module__ in (pages.__name__, login.__name__)]
    for route in shown:
        if route.endpoint not in (pages.home, pages.back):  # they lead on
            paths = [page.partition("?")[0] for page in (*PAGES, "/tickets/new")]
            assert any(route.path_regex.match(path) for path in paths), route.path


def test_the_desk_lives_and_serves_everybody(postgres_dsn, browser, axe):
    """One browser for all of it: the living page, the keys, an ended session, paper, and axe's rules on every page."""
    with desk(postgres_dsn) as served:
        new = served.found["new"]
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        sign_in(page, served, "engineer", f"/tickets/{new}")

        # The terminal page: nothing new, only the two small answers; something new, and the parts follow.
        identity = "352093081429150"
        asked = []
        page.on("request", lambda request: asked.append(request.url.removeprefix(served.url)))
        page.goto(f"{served.url}/terminals/{identity}")
        expect(page.locator("#track h2")).to_contain_text("120 positions")
        page.select_option("select[name=hours]", "6")
        page.wait_for_url("**hours=6**")

        async def one_more(desk):
            async with desk.pool.connection() as connection:
                rows = await connection.execute("SELECT id FROM terminal WHERE identity = %s", (identity,))
                (row,) = await rows.fetchone()
            await add_records(desk.pool, row, 1, lat=55.9)

        asked.clear()
        page.wait_for_timeout(2300)
        assert len([url for url in asked if url == f"/api/terminals/{identity}"]) >= 2
        assert [url for url in asked if url.startswith("/terminals")] == []
        served.call(one_more)
        expect(page.locator("#track h2")).to_contain_text("121 positions")
        expect(page.locator("#state")).to_contain_text("121")
        page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        page.wait_for_timeout(300)
        asked.clear()
        page.wait_for_timeout(1200)
        assert asked == []

        # A command, its answer, and who sent it; another one typed while that comes stays as it is.
        section = page.locator("#commands")
        page.fill("#command input[name=text]", "getinfo <b>")
        page.get_by_role("button", name="Send").click()
        page.wait_for_url("**#commands")
        expect(section.locator("tbody tr")).to_have_count(1)
        expect(section.locator("tbody tr").first).to_contain_text("engineer")
        expect(section.locator(".pill")).to_have_text("queued")
        page.fill("#command input[name=text]", "next one")

        async def answered(desk):
            async with desk.pool.connection() as connection:
                await connection.execute(
                    "UPDATE command SET state = 'done', sent_at = now(), finished_at = now(), result = %s",
                    (f"{EVIL}\r\n\x1b[2J\u202e",),
                )

        served.call(answered)
        expect(section.locator(".pill")).to_have_text("done")
        expect(section.locator("td").last).to_have_text(f"{EVIL}\\r\\n\\x1b[2J\\u202e")
        assert page.input_value("#command input[name=text]") == "next one"
        page.evaluate("document.querySelector('#command input[name=text]').value = 'дверь'")
        page.get_by_role("button", name="Send").click()
        page.wait_for_url("**told=**")
        expect(page.get_by_role("alert").first).to_contain_text("ASCII")
        assert page.input_value("#command input[name=text]") == "дверь"
        served.call(of_every_state)

        # A filter under the arrow keys waits for Enter; the pointer needs none.
        page.goto(f"{served.url}/tickets")
        page.locator("select[name=state]").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.wait_for_timeout(200)
        assert page.url == f"{served.url}/tickets"
        expect(page.get_by_role("button", name="Show")).to_be_visible()
        page.keyboard.press("Enter")
        page.wait_for_url("**state=in_work**")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()

        # A refused action leaves an address that can be asked again, with its reason and the text.
        page.goto(f"{served.url}/tickets/{served.found['recovered']}")
        page.fill("#text", "typed")

        async def done_elsewhere(desk):
            await done(desk.tickets, "consent", served.found["recovered"], "engineer", "by phone")
            await done(desk.tickets, "close", served.found["recovered"], "engineer")

        served.call(done_elsewhere)
        page.get_by_role("button", name="Record consent").click()
        page.wait_for_url("**told=**")
        page.reload()
        expect(page.get_by_role("alert").first).to_be_visible()
        assert page.input_value("#text") == "typed"

        # The session ends while somebody types: the page stays, its form leads through the login and back.
        page.goto(f"{served.url}/tickets/{new}")
        page.fill("#text", "two\nlines")
        context.clear_cookies(name="dozor_session")
        expect(page.locator("#ended")).to_be_visible()
        page.get_by_role("button", name="Note").click()
        page.fill("#username", "engineer")
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/tickets/{new}?told=**")
        assert page.input_value("#text") == "two\nlines"
        context.clear_cookies(name="dozor_session")
        page.goto(f"{served.url}/terminals")
        assert "/login?next=" in page.url  # nothing typed: straight to the login, and back from there
        sign_in(page, served, "engineer", "/terminals")

        # Paper: every column within the sheet, dark letters on white whatever the screen.
        page.emulate_media(media="print", color_scheme="dark")
        page.set_viewport_size({"width": 1047, "height": 700})  # A4 across, less its margins
        for path in ("/tickets", "/terminals", f"/tickets/{new}", "/fleet", "/quarantine"):
            page.goto(served.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 1047, path
            assert page.evaluate(
                "[...document.querySelectorAll('.scroll')].every((s) => s.scrollWidth <= s.clientWidth)"
            )
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 34, 38)"
            assert page.evaluate("[...document.querySelectorAll('th')].every((th) => th.offsetWidth > 0)"), path
        page.emulate_media(media="screen")

        found = {}
        for width, schemes in LOOKS.items():
            page.set_viewport_size({"width": width, "height": 900})
            for path in (*PAGES, f"/tickets/{new}", "/tickets/none"):
                page.goto(served.url + path)
                page.evaluate(axe)
                for scheme in schemes:
                    page.emulate_media(color_scheme=scheme)
                    assert page.evaluate("document.documentElement.scrollWidth") <= width, path
                    for problem in page.evaluate(AXE):
                        found.setdefault(problem, []).append((path, width, scheme))
        assert not found, "\n".join(f"{problem} on {where}" for problem, where in found.items())


async def of_every_state(desk):
    """Commands for the terminal whose page is looked at."""
    async with desk.pool.connection() as connection:
        for state in STATES:
            await connection.execute(
                """INSERT INTO command (terminal, protocol, text, repeat, state, created_by, expires_at, sent_at,
                                        finished_at, result, reason)
                   SELECT id, protocol, 'getparam 10', false, %s, 'anna', now() + interval '1 h', now(), now(),
                          repeat('10:1;', 200), 'no answer in time' FROM terminal WHERE identity = '352093081429150'""",
                (state,),
            )
