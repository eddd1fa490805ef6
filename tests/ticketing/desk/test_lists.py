"""Lists in the order and the choice that was asked for, page by page, and the fleet's figures that lead to them."""

import asyncio
import html
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import numpy as np
import pytest

from gateway.service.listing import RANKS
from tests.ticketing.desk.parts import add_connection, site
from tests.ticketing.desk_parts import add_terminal, execute, fetch, raise_one
from ticketing.incidents import Incidents
from ticketing.kit.ports import SORTS
from ticketing.tickets.fleet_health import BY
from ticketing.tickets.store import TICKET_SORTS

KINDS = {"silence": "Silence", "firmware": "Firmware"}
# identity: protocol, model, told model, firmware, connected, silence, firmware verdict
FLEET = {
    "A": ("teltonika", "FMB920", None, "03.27", True, "good", "fail"),
    "B": ("teltonika", "FMB920", "FMC130", "03.27", False, "fail", "good"),
    "C": ("teltonika", "FMB920", None, None, False, "suspect", "unknown"),
    "D": ("omnicomm", None, None, "312", True, "good", "good"),
    "E": (None, None, None, None, False, "unknown", "unknown"),
    "F a&b": ("teltonika", "<i>&x=1", None, "03.29", False, "good", "suspect"),
}


def run(dsn, work, *, watched=True):
    ranks = {kind: bytearray(3) for kind in KINDS}  # shorter than the fleet: what was never heard is unknown

    def of(kind):
        if not watched:
            return b""
        chosen = [ranks[kind]] if kind else ranks.values()
        return np.maximum.reduce([np.frombuffer(bytes(one), np.int8) for one in chosen]).tobytes()

    async def main():
        async with site(dsn, roles=("admin",), ranks=of, kinds=KINDS) as desk:
            now = datetime.now(UTC)
            for n, (name, (protocol, model, told, firmware, connected, *verdicts)) in enumerate(FLEET.items()):
                row = await add_terminal(
                    desk.pool,
                    name,
                    protocol=protocol,
                    model=model,
                    model_told=told,
                    firmware=firmware,
                    name=f"N{9 - n}",
                )
                await add_connection(desk.pool, name, now - timedelta(hours=2, minutes=n), None if connected else now)
                for kind, verdict in zip(KINDS, verdicts, strict=True):
                    if verdict != "unknown":
                        ranks[kind].extend(bytes(max(0, row + 1 - len(ranks[kind]))))
                        ranks[kind][row] = RANKS[verdict]
            size = max(map(len, ranks.values()))
            for one in ranks.values():
                one.extend(bytes(size - len(one)))
            async with desk.signed_in("admin") as browser:
                return await work(desk, browser)

    return asyncio.run(main())


async def listed(browser, query, path="/api/terminals", key="terminal", limit=2):
    """All pages of a list, joined; no page repeats or leaves out a row."""
    found, cursor = [], ""
    while True:
        answer = await browser.get(f"{path}?{query}&limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status_code == 200, (query, answer.text)
        page = answer.json()
        found += [item[key] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            assert page["total"] == len(found) == len(set(found)), query
            return found


def test_terminals_are_chosen(postgres_dsn):
    expected = {
        "protocol=teltonika": ["A", "B", "C", "F a&b"],
        "protocol=unknown": ["E"],
        "model=FMB920": ["A", "C"],
        "model=FMC130": ["B"],  # told by the terminal
        "model=protocol:omnicomm": ["D"],
        "model=%3Ci%3E%26x%3D1": ["F a&b"],
        "firmware=03.27": ["A", "B"],
        "firmware=unknown&protocol=teltonika": ["C"],
        "connected=yes": ["A", "D"],
        "overdue=yes": ["B", "C"],
        "overdue=no": ["A", "D", "E", "F a&b"],
        "overdue=yes&verdict=fail&kind=silence": ["B"],
        "connected=no&protocol=teltonika": ["B", "C", "F a&b"],
        "verdict=fail": ["A", "B"],
        "verdict=fail&kind=silence": ["B"],
        "verdict=good": ["D"],
        "verdict=suspect": ["C", "F a&b"],
        "verdict=unknown": ["E"],
        "verdict=unknown&kind=firmware": ["C", "E"],
        "verdict=fail&search=n8": ["B"],
        "model=nonesuch": [],
    }

    async def work(_desk, browser):
        return {query: await listed(browser, query) for query in expected}

    assert run(postgres_dsn, work) == expected


def test_terminals_are_sorted_across_pages(postgres_dsn):
    expected = {
        "": ["A", "B", "C", "D", "E", "F a&b"],
        "sort=-terminal": ["F a&b", "E", "D", "C", "B", "A"],
        "sort=name": ["F a&b", "E", "D", "C", "B", "A"],
        "sort=connected": ["B", "C", "E", "F a&b", "A", "D"],
        "sort=-connected": ["D", "A", "F a&b", "E", "C", "B"],
        "sort=verdict": ["E", "D", "C", "F a&b", "A", "B"],
        "sort=-verdict&kind=silence": ["B", "C", "F a&b", "D", "A", "E"],
        "sort=-verdict&protocol=teltonika": ["B", "A", "F a&b", "C"],
        "sort=firmware": ["A", "B", "F a&b", "D", "C", "E"],
    }

    async def work(_desk, browser):
        found = {query: await listed(browser, query) for query in expected}
        for sort in SORTS:
            up, down = await listed(browser, f"sort={sort}"), await listed(browser, f"sort=-{sort}", limit=3)
            assert up == down[::-1], sort
        return found

    assert run(postgres_dsn, work) == expected


def test_without_a_watch_here_nobody_knows(postgres_dsn):
    async def work(_desk, browser):
        return await listed(browser, "verdict=unknown"), await listed(browser, "verdict=fail")

    assert run(postgres_dsn, work, watched=False) == (list(FLEET), [])


def test_a_place_in_a_list_holds_while_rows_change(postgres_dsn):
    """A cursor says where the list was, not whose row it was."""

    async def work(desk, browser):
        first = (await browser.get("/api/terminals?sort=name&limit=2")).json()
        async with desk.pool.connection() as connection:
            await connection.execute("UPDATE terminal SET name = 'Z' WHERE identity = 'E'")  # the last one shown
        rest = (await browser.get(f"/api/terminals?sort=name&limit=9&cursor={first['next']}")).json()
        return [t["terminal"] for t in first["items"]], [t["terminal"] for t in rest["items"]]

    assert run(postgres_dsn, work) == (["F a&b", "E"], ["D", "C", "B", "A", "E"])


def test_tickets_are_chosen_and_sorted(postgres_dsn):
    async def work(desk, browser):
        now = datetime.now(UTC).timestamp()
        numbers = {}
        async with desk.pool.connection() as connection:
            rows = await (await connection.execute("SELECT identity, id FROM terminal ORDER BY identity")).fetchall()
        for n, (name, row) in enumerate(rows):
            numbers[(await raise_one(desk.pool, row, now - 600 * (n % 4) - n)).number] = name

        async def of(query, path="/api/tickets"):
            return [numbers[n] for n in await listed(browser, query, path, "number")]

        for sort in TICKET_SORTS:
            up, down = await of(f"sort={sort}"), await of(f"sort=-{sort}")
            assert up == down[::-1], sort
            assert sorted(up) == list(FLEET), sort
        return {
            query: await of(query)
            for query in ("sort=opened", "sort=-terminal", "model=FMC130", "protocol=omnicomm", "firmware=03.27")
        }

    found = run(postgres_dsn, work)
    assert found["sort=opened"] == ["D", "C", "F a&b", "B", "E", "A"]
    assert found["sort=-terminal"] == list(FLEET)[::-1]
    assert (found["model=FMC130"], found["protocol=omnicomm"]) == (["B"], ["D"])
    assert sorted(found["firmware=03.27"]) == ["A", "B"]


@pytest.mark.parametrize("path", ["/api/terminals", "/terminals", "/api/tickets", "/tickets"])
def test_wrong_wishes_are_refused(postgres_dsn, path):
    queries = ["sort=nonesuch", "sort=--terminal", "sort=terminal&cursor=W10", "sort=verdict&cursor=WyJ4IiwiQSJd"]
    if "terminals" in path:
        queries += [
            "verdict=met",
            "kind=nonesuch",
            "connected=maybe",
            "overdue=1",
            "sort=verdict&cursor=WzMwMDAsIkEiXQ",
        ]

    async def work(_desk, browser):
        return {query: (await browser.get(f"{path}?{query}")).status_code for query in queries}

    assert set(run(postgres_dsn, work).values()) == {400}


def test_figures_of_the_fleet_lead_to_what_they_count(postgres_dsn):
    async def work(_desk, browser):
        page = (await browser.get("/fleet")).text
        figures = re.findall(r'<a href="(/terminals[^"]*)">([^<]*)</a></th><td class="num">(\d+)', page)
        figures += [(link, "", n) for link, n in re.findall(r'<a href="(/terminals[^"]*)"><b>(\d+)</b>', page)]
        counts = {}
        for link, words, number in figures:
            link = html.unescape(link)
            listing = (await browser.get(link)).text
            assert f">{number} terminal{'' if number == '1' else 's'}<" in listing, (link, words)
            counts[link] = int(number)
        return counts

    counts = run(postgres_dsn, work)
    assert counts["/terminals"] == 6
    assert counts["/terminals?connected=yes"] == 2
    assert counts["/terminals?model=FMB920&firmware=03.27"] == 1
    assert len(counts) == 2 + 3 + 5 + 6 + 1  # the last leads from the health of those without an operator


def test_terminals_are_found_and_shown_by_what_people_know_of_them(postgres_dsn):
    async def work(desk, browser):
        async with desk.pool.connection() as connection:
            await connection.execute(
                "UPDATE terminal SET operator = 'Nord & Co', customer = 'Lesprom', region = 'Karelia',"
                " stage = 'season', stage_until = now() + interval '9 d', firmware_target = '04.01'"
                " WHERE identity = 'A'"
            )
            await connection.execute(  # its stage is over
                "UPDATE terminal SET stage = 'sold', stage_until = now() - interval '1 second' WHERE identity = 'B'"
            )
        found = {
            query: await listed(browser, query)
            for query in ("operator=Nord+%26+Co", "customer=Lesprom&region=Karelia", "site=unknown", "stage=season")
        }
        used = (await browser.get("/api/terminals?stage=in_use")).json()["items"]
        stages = {t["terminal"]: (t["stage"], t["stage_until"] is None) for t in used}
        told = (await browser.get("/api/terminals/A")).json()
        return found, stages, told, (await browser.get("/terminals/A")).text, (await browser.get("/terminals/B")).text

    found, stages, told, page, other = run(postgres_dsn, work)
    assert found == {
        "operator=Nord+%26+Co": ["A"],
        "customer=Lesprom&region=Karelia": ["A"],
        "site=unknown": list(FLEET),
        "stage=season": ["A"],
    }
    assert stages == {name: ("in_use", True) for name in FLEET if name != "A"}
    assert (told["operator"], told["customer"], told["site"], told["stage"], told["firmware_target"]) == (
        "Nord & Co",
        "Lesprom",
        None,
        "season",
        "04.01",
    )
    assert '<a class="same" href="/terminals?operator=Nord+%26+Co">Nord &amp; Co</a>' in page
    assert "should be 04.01" in page
    assert "Season, until" in page
    assert "Stage" not in other


def test_a_ticket_is_chosen_by_what_its_terminal_is_chosen_by(postgres_dsn):
    """One word means the same in both lists: whatever terminals it finds, it finds their tickets."""

    async def work(desk, browser):
        now = datetime.now(UTC).timestamp()
        for name in FLEET:
            row = (await fetch(desk.pool, "SELECT id FROM terminal WHERE identity = %s", name))[0][0]
            await raise_one(desk.pool, row, now)
        asked = 0
        for key in ("protocol", "model", "firmware"):
            words = {str(getattr(t, key)) for t in (await desk.reader.terminals(limit=500)).items}
            words |= {"unknown", "protocol:omnicomm", "protocol:teltonika", "nonesuch", ""}
            left = set(FLEET)
            for word in sorted(words):
                query = urlencode({key: word, "limit": 500})
                terminals = await listed(browser, query)
                tickets = await listed(browser, query, "/api/tickets", "terminal")
                assert sorted(tickets) == sorted(terminals), (key, word)
                asked += bool(word and terminals)
                left -= set(terminals) if word else set()
            assert not left, f"each has some word of {key}"
        return asked

    assert run(postgres_dsn, work) > 8


def test_a_ticket_about_many_is_of_no_model(postgres_dsn):
    async def work(desk, browser):
        now = datetime.now(UTC).timestamp()
        storm = Incidents(desk.pool, tickets_per_minute=1)
        for name in FLEET:
            row = (await fetch(desk.pool, "SELECT id FROM terminal WHERE identity = %s", name))[0][0]
            await raise_one(desk.pool, row, now, incidents=storm)
        found = {key: await listed(browser, f"{key}=unknown", "/api/tickets", "kind") for key in ("model", "firmware")}
        return found, await listed(browser, "", "/api/tickets", "kind")

    found, kinds = run(postgres_dsn, work)
    assert sorted(kinds) == ["silence", "storm"]
    assert found == {"model": [], "firmware": []}


@pytest.mark.parametrize("by", BY)
def test_each_figure_of_health_leads_to_what_it_counts(postgres_dsn, by):
    """Those in use alone: what is in the workshop or sold is neither counted nor listed."""

    async def work(desk, browser):
        stages = {"A": "workshop", "C": "sold", "F a&b": "season"}
        for n, (name, (protocol, *_)) in enumerate(FLEET.items()):
            await execute(
                desk.pool,
                "UPDATE terminal SET operator = %s, customer = %s, site = %s, stage = %s, stage_until = %s"
                " WHERE identity = %s",
                ("Nord & Süd", None)[n % 2],
                f"{protocol or 'unknown'}",
                "<yard>?x=1" if n > 2 else None,
                stages.get(name, "in_use"),
                datetime.now(UTC) + timedelta(days=-1 if name == "F a&b" else 1) if name != "A" else None,
                name,
            )
        page = (await browser.get("/fleet", params={"by": by})).text
        card = page[page.index('id="health"') :].partition("</table>")[0]
        figures = re.findall(r'<a href="(/terminals[^"]*)">([^<]*)</a></th><td class="num">(\d+)', card)
        groups = (await browser.get("/api/fleet/health", params={"by": by})).json()["groups"]
        assert {(html.unescape(value), int(n)) for _, value, n in figures} == {
            (group["value"], group["terminals"]) for group in groups
        }
        for link, words, number in figures:
            listing = (await browser.get(html.unescape(link))).text
            assert f">{number} terminal{'' if number == '1' else 's'}<" in listing, (link, words)
        return sum(int(number) for *_, number in figures)

    assert run(postgres_dsn, work) == 4, "A is in the workshop and C was sold; the season of F is over"
