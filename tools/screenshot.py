"""Photograph the desk: `python -m tools.screenshot URL --user NAME --password-stdin -o docs/desk.png`.

One page (`--page`, the queue unless told) into one file, or with `--all FOLDER` every page at desktop and phone width.
Needs playwright, and Chromium of the system's packages, which is fetched where it is not installed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from urllib.parse import urljoin

from playwright.sync_api import Browser, Page, sync_playwright

from tools import parts

SIZES = {"desktop": (1360, 850), "phone": (390, 844)}


def sign_in(page: Page, url: str, user: str, password: str) -> None:
    """Through the login form; ends with a message when that does not lead in."""
    page.goto(urljoin(url, "/login"))
    page.fill("#username", user)
    page.fill("#password", password)
    page.click("button.primary")
    if page.url.endswith("/login"):
        sys.exit("the desk did not let this user in")


def all_pages(page: Page, url: str) -> dict[str, str]:
    """Every kind of page, with the first ticket and terminal that the lists show."""
    pages = {name: f"/{name}" for name in ("tickets", "terminals", "fleet", "quarantine")}
    for name, listed in (("ticket", "/tickets"), ("terminal", "/terminals")):
        page.goto(urljoin(url, listed))
        found = page.locator(f'main a[href^="/{name}s/"]').first
        if found.count():
            pages[name] = found.get_attribute("href") or listed
    pages["search"] = "/search?q=1"
    return pages


def shoot(browser: Browser, args: argparse.Namespace, password: str, size: str, dark: bool) -> None:
    """Take what was asked for in one size and colour."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        device_scale_factor=args.scale,
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("response", lambda got: problems.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    if args.all:
        page.goto(urljoin(args.url, "/login"))
        page.screenshot(path=args.all / f"login-{size}{'-dark' if dark else ''}.png")
    sign_in(page, args.url, args.user, password)
    wanted = all_pages(page, args.url) if args.all else {"": args.page}
    for name, path in wanted.items():
        page.goto(urljoin(args.url, path))
        page.wait_for_load_state("networkidle")
        file = args.all / f"{name}-{size}{'-dark' if dark else ''}.png" if args.all else args.output
        file.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=file, full_page=bool(args.all) or args.full)
        print(file)
    context.close()
    if problems:
        sys.exit("\n".join(["the browser complained:", *problems]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the desk's address")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-stdin", action="store_true", required=True, help="read the password from stdin")
    parser.add_argument("--page", default="/tickets")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/desk.png"))
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="every page, desktop and phone")
    parser.add_argument("--full", action="store_true", help="the whole page, not only what fits")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--size", choices=SIZES, default="desktop")
    parser.add_argument("--scale", type=float, default=1.0, help="pixels per CSS pixel")
    args = parser.parse_args()
    password = sys.stdin.readline().rstrip("\n")
    chromium = parts.chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if args.all:
            for size in SIZES:
                shoot(browser, args, password, size, args.dark)
        else:
            shoot(browser, args, password, args.size, args.dark)
        browser.close()


if __name__ == "__main__":
    main()
