"""The desk in a real Chromium over a real server: forms, clocks, refreshing, keys, and no complaint of the browser."""

import asyncio
import socket
import threading

import pytest
import uvicorn
from playwright.sync_api import expect, sync_playwright

from tests.ticketing.desk.parts import PASSWORD, site, small_fleet
from tests.ticketing.desk_parts import add_terminal, raise_one
from ticketing.desk.settings import DeskSettings

EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


class Served:
    """A desk on a loopback port, in a loop of its own thread."""

    def __init__(self, dsn):
        self._dsn = dsn
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(30)

    def call(self, work):
        """Run a coroutine of `work(desk)` in the desk's loop."""
        return asyncio.run_coroutine_threadsafe(work(self.desk), self._loop).result(30)

    async def _main(self):
        self._loop = asyncio.get_running_loop()
        async with site(self._dsn, roles=("engineer",), settings=DeskSettings(refresh=1)) as self.desk:
            self.numbers = await small_fleet(self.desk.pool)
            listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._server = uvicorn.Server(uvicorn.Config(self.desk.app, lifespan="off", log_level="warning"))
            self._ready.set()
            await self._server.serve(sockets=[listener])


@pytest.fixture
def page(chromium):
    complaints = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: None if "127.0.0.1" in request.url else complaints.append(request.url))
        yield page
        browser.close()
    assert complaints == []


def test_an_engineers_morning(postgres_dsn, page):
    with Served(postgres_dsn) as served:
        new, recovered = served.numbers["new"], served.numbers["recovered"]
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
        served.call(lambda desk: desk.tickets.note(new, "engineer", "from elsewhere"))
        expect(page.locator("#journal .said").last).to_have_text("from elsewhere")
        assert page.input_value("#text") == "still typing"

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
            "/quarantine",
        ):
            page.goto(served.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
            assert page.evaluate(
                "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
                ".every(field => field.labels.length > 0)"
            ), path
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
