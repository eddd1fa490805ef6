"""What the pages show, that nothing from a terminal or a form runs in a browser, and what every answer carries."""

import asyncio
import html
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import psycopg
import pytest

from gateway.service.reader import Live
from tests.protocols.teltonika_vectors import CODEC_8, CODEC_8E
from tests.ticketing.desk.parts import (
    add_message,
    add_quarantine,
    add_records,
    counted,
    hidden,
    live_of,
    sign_in,
    site,
    small_fleet,
)
from tests.ticketing.desk_parts import add_terminal, done, raise_one
from ticketing.kit.settings import DeskSettings
from ticketing.kit.shield import MAX_BODY
from ticketing.model.states import Action

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


def run(postgres_dsn, work, **options):
    async def main():
        async with site(postgres_dsn, **({"roles": ("admin",)} | options)) as desk:
            return await work(desk)

    return asyncio.run(main())


def test_hostile_texts_stay_texts(postgres_dsn):
    identity = "<b>&'\"</b>/../%2e?#x{{7*7}}"

    async def work(desk):
        terminal = await add_terminal(
            desk.pool, identity, name=EVIL, model=EVIL, model_told=EVIL, firmware=EVIL, protocol="<i>p</i>"
        )
        await add_records(
            desk.pool, terminal, 3, layout=("speed", EVIL), extra='{"<u>k</u>": "<script>alert(3)</script>"}'
        )
        await add_message(desk.pool, identity, EVIL)
        await add_quarantine(desk.pool, identity, b"<script>", reason=EVIL)
        number = (await raise_one(desk.pool, terminal, reason=EVIL)).number
        await desk.users.add(EVIL[:60], "engineer", "pw")
        async with desk.stranger() as client:
            await sign_in(client, EVIL[:60], "pw")
            fields = hidden((await client.get(f"/tickets/{number}")).text)
            refused = await client.post(f"/tickets/{number}/consent", data=fields | {"text": EVIL})
            assert refused.status_code == 303
            refused = await client.get(refused.headers["location"])
            assert (await client.post(f"/tickets/{number}/note", data=fields | {"text": EVIL})).status_code == 303
            pages = [refused.text, (await sign_in(client, EVIL)).text]
            await sign_in(client, EVIL[:60], "pw")
            listed = (await client.get("/terminals")).text
            link = re.search(r'href="(/terminals/[^"]+)"', listed)[1]
            pages.append(listed)
            for path in (
                link,
                "/tickets",
                f"/tickets/{number}",
                "/fleet",
                "/quarantine",
                "/quarantine/1",
                f"/tickets?terminal={EVIL}&state={EVIL}&kind={EVIL}&search={EVIL}",
                f"/terminals?search={EVIL}",
                f"/quarantine?terminal={EVIL}",
                f"/search?q={EVIL}",
                "/search?q=script",
            ):
                answer = await client.get(path)
                assert answer.status_code == 200, path
                pages.append(answer.text)
            pages.append((await client.get(f"/tickets/{EVIL}")).text)
            pages.append((await client.get(f"/terminals/x?hours={EVIL}")).text)
            pages.append((await client.get(f"/login?next=/{EVIL}")).text)
            assert identity.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split("'")[0] in pages[3]
        return pages

    for page in run(postgres_dsn, work):
        assert page.startswith("<!doctype html>")
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>&'" not in page
        assert "<i>p" not in page
        assert "<u>k" not in page
        assert ">49" not in page
        assert "onerror=alert(2)>" not in page
        # Nothing inline: the content security policy would stop it, and our own pages must not need it.
        assert not re.search(r"<script(?! src=\"/static/)|<style|\sstyle=|\son\w+=\"", page)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", page)


def test_a_quarantined_frame_has_its_decoded_view_beside_it(postgres_dsn):
    frame = CODEC_8E.wire
    rows = [
        ("teltonika", 0, frame, ("record 2026-03-14T09:28:23.250Z", "ble.lls.level.1 = 2711", "tree")),
        ("teltonika", 0, CODEC_8.wire[10:-5], ("codec: 8", "satellites: 11")),
        ("wialon-ips", 1, b"210325;250000;NA;NA;NA;NA;0;0;0;0", ("error: time",)),
        ("wialon-ips", 1, b"#SD#210325;081507;NA;NA;NA;NA;0;0;0;<b>", ("quarantined satellites",)),
        ("omnicomm", 0, b"\x13\x08", ("bytes: 1308",)),
        ("nonesuch", 0, b"\0", ("does not know the protocol",)),
        ("teltonika", 0, bytes(200_000), ("65537 bytes: pages decode no more than 65536",)),
    ]

    async def work(desk):
        for number, (protocol, variant, data, _) in enumerate(rows):
            async with desk.pool.connection() as connection:
                await connection.execute(
                    """INSERT INTO quarantine (received, terminal, protocol, reason, variant, digest, data)
                       VALUES (now(), %s, %s, 'unregistered', %s, %s, %s)""",
                    (f"T{number}", protocol, variant, bytes([number]), data),
                )
        async with desk.signed_in("admin") as browser:
            listed = (await browser.get("/quarantine")).text
            found = []
            for number, row in enumerate(rows, 1):
                assert f'href="/quarantine/{number}"' in listed
                page = (await browser.get(f"/quarantine/{number}")).text
                told = (await browser.get(f"/api/quarantine/{number}")).json()
                assert told["terminal"] == f"T{number - 1}"
                assert told["hex"] == row[2].hex()[:512]
                assert told["size"] == len(row[2])
                found.append((page, told["decoded"]))
            for wrong in ("0", "99", "x", "-1", "1" * 30):
                assert (await browser.get(f"/quarantine/{wrong}")).status_code == 404
                assert (await browser.get(f"/api/quarantine/{wrong}")).status_code == 404
        return found

    for (page, decoded), (*_, data, parts) in zip(run(postgres_dsn, work), rows, strict=True):
        assert data.hex()[:64] in page
        assert "<b>" not in page.replace("<b>admin", "")
        for part in parts:
            assert part in decoded
            assert part in page


def test_an_id_without_one_meaning_is_shown_as_its_model_means_it(postgres_dsn):
    async def work(desk):
        shown = {}
        for name, model in (("A", "FMB920"), ("B", "FMC650"), ("C", None)):
            terminal = await add_terminal(desk.pool, name, protocol="teltonika", model=model)
            await add_records(desk.pool, terminal, 1, layout=("io.25", "io.6", "io.999", "io.25.2"))
            async with desk.pool.connection() as connection:
                await connection.execute("UPDATE record SET measures = '{64536,12345,7,100}'")
            async with desk.signed_in("admin") as browser:
                page = (await browser.get(f"/terminals/{name}")).text
                record = (await browser.get(f"/api/terminals/{name}")).json()["last_record"]
            assert record["measures"] == {"io.25": 64536, "io.6": 12345, "io.999": 7, "io.25.2": 100}
            shown[name] = (record["named"], page)
        return shown

    shown = run(postgres_dsn, work)
    assert shown["A"][0] == {
        "io.25": {"name": "ble.temperature.1", "value": -10.0, "unit": "°C"},
        "io.25.2": {"name": "ble.temperature.1.2", "value": 1.0, "unit": "°C"},
        "io.6": {"name": "adc.2", "value": 12.345, "unit": "V"},
    }
    assert shown["B"][0]["io.25"] == {"name": "can.engine.temperature", "value": -100.0, "unit": "°C"}
    assert shown["B"][0]["io.6"] == {"name": "temperature.5", "value": 1234.5, "unit": "°C"}
    assert shown["C"][0] == {}
    assert "<code>io.25</code> ble.temperature.1</dt><dd>-10 °C</dd>" in shown["A"][1]
    assert "<code>io.999</code></dt><dd>7 </dd>" in shown["A"][1]
    assert "<code>io.25</code></dt><dd>64 536 </dd>" in shown["C"][1]


def test_headers_on_every_answer(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("admin") as browser:
            for path, status in (
                ("/tickets", 200),
                ("/api/tickets", 200),
                ("/nothing", 404),
                ("/api/nothing", 404),
                ("/login", 200),
                ("/static/desk.css", 200),
                ("/static/none", 404),
                ("/tickets?limit=0", 400),
            ):
                answer = await browser.get(path)
                assert answer.status_code == status, path
                policy = answer.headers["content-security-policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert "https:" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "same-origin"
                if path.startswith("/static"):
                    continue
                assert answer.headers["cache-control"] == "no-store"
        async with desk.stranger() as stranger:
            assert (await stranger.get("/tickets")).headers["x-content-type-options"] == "nosniff"

    run(postgres_dsn, work)


def test_map_tiles_only_where_configured(postgres_dsn):
    async def work(desk):
        await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:
            answer = await browser.get("/terminals/352093081429150")
            assert answer.status_code == 200
            return answer.headers["content-security-policy"], re.findall(r'<image href="([^"]+)"', answer.text)

    policy, tiles = run(postgres_dsn, work, settings=DeskSettings(tiles="https://tiles.example/{z}/{x}/{y}.png"))
    assert "img-src 'self' https://tiles.example;" in policy
    assert tiles
    assert all(re.fullmatch(r"https://tiles\.example/\d+/\d+/\d+\.png", tile) for tile in tiles)


def test_the_terminal_page_shows_all_there_is(postgres_dsn):
    now = datetime.now(UTC)

    async def work(desk):
        numbers = await small_fleet(desk.pool, now)
        async with desk.signed_in("admin") as browser:
            page = (await browser.get("/terminals/352093081429150")).text
            measured = (await browser.get("/terminals/352093081429150?measure=ignition&hours=1")).text
            assert (await browser.get("/terminals/352093081429150?hours=5")).status_code == 400
            assert (await browser.get("/terminals/unknown")).status_code == 404
            bare = (await browser.get("/terminals/77001")).text
        return numbers, page, measured, bare

    numbers, page, measured, bare = run(postgres_dsn, work, live=live_of(now))
    for shown in (
        "Truck 12",
        "FMB920",
        "03.27.07",
        "silence: fail",
        "firmware: good",
        "silent for 9 min, limit 5 min",
        "4 711",
        'class="way"',
        "120 positions",
        "power.external",
        "param.odd name",
        "192.0.2.7:40112",
        "idle timeout",
        "count",
        numbers["new"],
    ):
        assert shown in page, shown
    assert page.count('class="chart"') == 4
    assert measured.count('class="chart"') == 1
    assert "No record stored yet." in bare


def test_of_many_detectors_what_is_well_is_told_on_the_terminals_page_alone(postgres_dsn):
    verdicts = {"silence": "good", "firmware": "unknown", "power": "good", "gnss": "fail", "clock": "suspect"}

    async def live(identities):
        return {i: Live(True, None, None, verdicts, dict.fromkeys(verdicts, "so it is"), 1) for i in identities}

    async def work(desk):
        await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:
            return (await browser.get("/terminals?search=Truck")).text, (await browser.get("/terminals/77001")).text

    many, one = run(postgres_dsn, work, live=live)
    for page in (many, one):
        assert [w for w in verdicts if f'">{w}: ' in page] == ["silence", "firmware", "gnss", "clock"]
    assert "good: so it is" in one  # each with its reason, also power


def test_the_queue_runs_its_clocks_and_pages(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:
            await done(desk.tickets, Action.TAKE, numbers["firmware"], "admin")
            page = (await browser.get("/tickets")).text
            assert page.count("data-due=") == 2  # the third was answered: nobody has the others
            first = await browser.get("/tickets?limit=2")
            following = re.search(r'rel="next" href="([^"]+)"', first.text)[1].replace("&amp;", "&")
            second = await browser.get("/tickets" + following)
            shown = [re.findall(r'<tr id="t-([^"]+)"', answer.text) for answer in (first, second)]
            assert [len(numbers) for numbers in shown] == [2, 1]
            assert set(shown[0] + shown[1]) == set(numbers.values())
            assert "limit=2" in following
            only = (await browser.get("/tickets?state=new&kind=silence")).text
            assert re.findall(r'<tr id="t-([^"]+)"', only) == [numbers["new"]]

    run(postgres_dsn, work)


def test_the_ticket_page_explains_its_clock(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:

            async def page(number):
                answer = await browser.get(f"/tickets/{number}")
                assert answer.status_code == 200
                return html.unescape(answer.text)

            fresh = await page(numbers["new"])
            (clock,) = (await desk.tickets.get(numbers["new"])).clocks
            assert "4 h of working time. Worked Mon-Fri 09:00-18:00, calendar RU, Europe/Moscow." in fresh
            for shown in (clock["texts"]["start"], clock["texts"]["due"][0], "First reaction due"):
                assert shown in fresh, shown
            assert clock["intervals"]
            for step in clock["intervals"]:
                assert f'<span class="from">{step["span"]}</span> <span>{step["text"]}</span>' in fresh
            await done(desk.tickets, Action.ASK, numbers["new"], "admin", "in the workshop?")
            asked = await page(numbers["new"])
            assert "Reaction in time" in asked
            # The question was the first reaction: nothing is left to hold, and no pause is told.
            assert "holds the due time" not in asked
            (clock,) = (await desk.tickets.get(numbers["new"])).clocks
            assert clock["verdict"] == "met"
            assert clock["stopped"] is not None
            assert "not breached" in asked
            assert "open pause" not in asked
            await done(desk.tickets, Action.TAKE, numbers["new"], "admin")
            taken = await page(numbers["new"])
            assert "Waiting for the client holds the due time" not in taken
            assert "does not count: pause" not in taken
            queue = html.unescape((await browser.get("/tickets")).text)
            assert "held" not in queue

            # A year ago: broken by now, whatever the calendar says.
            old = await add_terminal(desk.pool, "old")
            raised = await raise_one(desk.pool, old, datetime(2025, 10, 31, 14, tzinfo=UTC).timestamp())
            await done(desk.tickets, Action.TAKE, raised.number, "admin")
            broken = await page(raised.number)
            assert re.search(r"Reaction \d+ d late", broken)
            assert "Breached" in broken
            assert "Saturday 1 November, worked instead of Monday 3 November, closes at 17:00" in broken

            unknown = await add_terminal(desk.pool, "unknown")
            raised = await raise_one(desk.pool, unknown, datetime(2035, 3, 5, 10, tzinfo=UTC).timestamp())
            odd = await page(raised.number)
            assert "No due time" in odd
            assert "RU does not know the year 2035" in odd

    run(postgres_dsn, work)


def test_the_ticket_page_offers_what_is_possible(postgres_dsn):
    async def work(desk):
        numbers = await small_fleet(desk.pool)

        async def offered(browser, number):
            text = (await browser.get(f"/tickets/{number}")).text
            return re.findall(r'formaction="/tickets/[^/]+/(\w+)"', text)

        async with desk.signed_in("engineer") as engineer, desk.signed_in("auditor") as auditor:
            assert await offered(engineer, numbers["new"]) == ["take", "note"]
            assert await offered(engineer, numbers["recovered"]) == ["take", "note", "consent"]
            assert await offered(auditor, numbers["new"]) == []
            path = f"/tickets/{numbers['recovered']}"
            fields = hidden((await engineer.get(path)).text)
            wrong = await engineer.post(f"{path}/close", data=fields | {"text": "typed already"})
            assert wrong.status_code == 303
            for _reload in range(2):
                told = await engineer.get(wrong.headers["location"])
                assert told.status_code == 200
                assert "typed already" in told.text
                assert "consent on record" in told.text
            assert "typed already" not in (await auditor.get(wrong.headers["location"])).text
            assert "typed already" not in (await engineer.get(path)).text
            gone = await engineer.get(f"{path}/close")  # the address of an action is no page
            assert (gone.status_code, gone.headers["location"]) == (303, path)
            blank = await engineer.post(f"{path}/consent", data=fields | {"text": " "})
            assert 'role="alert"' in (await engineer.get(blank.headers["location"])).text
            assert await offered(engineer, numbers["recovered"]) == ["take", "note", "consent"]
            assert (await engineer.post(f"{path}/consent", data=fields | {"text": "by phone"})).status_code == 303
            assert await offered(engineer, numbers["recovered"]) == ["take", "note", "consent", "close"]
            assert (await engineer.post(f"{path}/close", data=fields)).status_code == 303
            closed = (await engineer.get(path)).text
            assert "Closed" in closed
            assert await offered(engineer, numbers["recovered"]) == ["note"]

    run(postgres_dsn, work, roles=("engineer", "auditor"))


@pytest.mark.parametrize(
    ("words", "target"),
    [
        ("number", "/tickets/{}"),
        ("bare", "/tickets/{}"),
        ("77001", "/terminals/77001"),
        ("wl/odd one", "/terminals/wl%2Fodd%20one"),
    ],
)
def test_the_search_box_goes_straight_there(postgres_dsn, words, target):
    async def work(desk):
        numbers = await small_fleet(desk.pool)
        number = numbers["new"]
        asked = {"number": number, "bare": number.removeprefix("DZ-")}.get(words, words)
        async with desk.signed_in("admin") as browser:
            answer = await browser.get("/search", params={"q": asked})
            assert (answer.status_code, answer.headers.get("location")) == (303, target.format(number))
            several = await browser.get("/search", params={"q": "Truck"})
            assert several.status_code == 200
            assert "352093081429150" in several.text
            assert number in several.text
            assert "matches" in (await browser.get("/search", params={"q": "nothing like it"})).text
            assert (await browser.get("/search")).status_code == 200

    run(postgres_dsn, work)


def test_the_fleet_page_counts(postgres_dsn):
    async def work(desk):
        await small_fleet(desk.pool)
        async with desk.signed_in("admin") as browser:
            return (await browser.get("/fleet")).text

    page = run(postgres_dsn, work, counts=counted)
    for shown in ("<b>3</b> terminals", "<b>2</b> connected", "good 180", "fail 30", "protocol:wialon-ips", "FMB920"):
        assert shown in page, shown


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_are_refused(postgres_dsn, chunked):
    async def pieces():
        for _ in range(5):
            yield b"text=" + b"x" * (MAX_BODY // 4)

    async def work(desk):
        async with desk.stranger() as client:
            body = pieces() if chunked else b"x" * (MAX_BODY + 1)
            return (
                await client.post("/login", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
            ).status_code

    assert run(postgres_dsn, work) == 413


def test_the_store_being_away_is_said(postgres_dsn):
    async def work(desk):
        async with desk.signed_in("admin") as browser:
            async with desk.pool.connection() as connection:
                await connection.execute("ALTER TABLE ticket RENAME TO elsewhere")
            with pytest.raises(psycopg.errors.UndefinedTable):
                await browser.get("/api/tickets")  # a fault of ours is logged by the server, not hidden
            await desk.pool.close()
            for path in ("/api/tickets", "/tickets"):
                answer = await browser.get(path)
                assert answer.status_code == 503
                assert answer.headers["x-content-type-options"] == "nosniff"

    run(postgres_dsn, work)


def test_times_are_said_in_the_desks_zone(postgres_dsn):
    async def work(desk):
        terminal = await add_terminal(desk.pool, "77002")
        at = datetime(2026, 11, 16, 7, 0, tzinfo=UTC)
        await raise_one(desk.pool, terminal, at.timestamp())
        async with desk.signed_in("admin") as browser:
            return (await browser.get("/tickets")).text

    page = run(postgres_dsn, work, settings=DeskSettings(zone=ZoneInfo("Europe/Moscow")))
    assert "2026-11-16 14:00:00 MSK" in page  # 10:00 and four working hours


def test_every_time_of_a_page_is_in_one_zone_and_deadlines_in_the_policys_too(postgres_dsn):
    moscow, almaty = ZoneInfo("Europe/Moscow"), ZoneInfo("Asia/Almaty")

    async def work(desk):
        numbers = await small_fleet(desk.pool)
        late = await raise_one(desk.pool, await add_terminal(desk.pool, "L"), 1_790_000_000.0)  # breached long ago
        async with desk.signed_in("admin") as browser:
            paths = ["/tickets", "/terminals", "/terminals/352093081429150", "/fleet", "/quarantine", "/quarantine/1"]
            pages = {path: (await browser.get(path)).text for path in paths}
            for number in (*numbers.values(), late.number):
                pages[number] = (await browser.get(f"/tickets/{number}")).text
        return late.number, pages

    late, pages = run(postgres_dsn, work, settings=DeskSettings(zone=almaty, policy_zone=moscow))
    deadline = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d UTC\+05 \(((\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d) MSK\)")
    for path, page in pages.items():
        assert "times of Asia/Almaty" in page
        told = re.sub(r'(datetime|data-due|value|href)="[^"]*"|<pre>.*?</pre>', "", page, flags=re.DOTALL)
        zones = re.findall(r"\d\d:\d\d:\d\d (\w+(?:\+\d+)?)", deadline.sub("", told))
        assert set(zones) == {"UTC+05"}, (path, set(zones))
        assert not re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d", told.replace("&#34;", "")), path
        assert "+00:00" not in told, path
    dots = re.findall(r'<circle class="dot"[^>]*><title>(.*?)</title>', pages["/terminals/352093081429150"])
    assert dots
    assert [dot for dot in dots if not re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\+05", dot)] == []
    assert deadline.search(pages["/tickets"])
    assert "2026-09-22 14:13:20 UTC+05 (12:13:20 MSK)" in pages[late], deadline.findall(pages[late])
    assert "Counted, and told here, in the time of Europe/Moscow." in pages[late]
