"""What tests in a real Chromium share: a desk on a port, signing in, axe's rules, pictures for the docs."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import uvicorn

from tests.ticketing.desk.parts import PASSWORD, site

AXE = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
  .map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(" | ")}`)"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PICTURES = os.environ.get("DOZOR_PICTURES")  # a folder: what is walked through is photographed


class Served:
    """A desk on a loopback port, in a loop of its own thread; `found` is what `furnish(desk)` gave before."""

    def __init__(self, dsn, furnish, **settings):
        self._dsn, self._furnish, self._settings = dsn, furnish, settings
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(30)

    def call(self, work):
        """Run a coroutine of `work(desk)` in the desk's loop."""
        return asyncio.run_coroutine_threadsafe(work(self.desk), self._loop).result(30)

    async def _main(self):
        self._loop = asyncio.get_running_loop()
        async with site(self._dsn, **self._settings) as self.desk:
            self.found = await self._furnish(self.desk)
            listener = socket.create_server(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._server = uvicorn.Server(uvicorn.Config(self.desk.app, lifespan="off", log_level="warning"))
            self._ready.set()
            await self._server.serve(sockets=[listener])


def sign_in(page, served, name, target="/tickets"):
    """By the form that leads on to `target`."""
    page.goto(f"{served.url}/login?next={target}")
    page.fill("#username", name)
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(served.url + target)


def picture(page, name):
    """What is seen of the page now, for the docs, where they are being made."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
