"""Any choice from the list of terminals, in any order and page size, is what a plain loop would choose."""

import asyncio
import itertools
import random
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import numpy as np

from gateway.service.listing import RANKS
from tests.ticketing.desk.parts import add_connection, site
from tests.ticketing.desk_parts import add_terminal
from ticketing.kit.ports import SORTS

KINDS = {"silence": "Silence", "firmware": "Firmware"}
VERDICTS = ("unknown", "good", "suspect", "fail")
LONG = "Грузовик с прицепом и очень длинным названием, которое не помещается в строку"  # more than a cursor holds
NAMES = [
    None,
    "",
    "a%b",
    "a_b",
    "A\\b",
    "it's",
    '"quoted"',
    "🚚 1",
    "重型卡车",
    LONG + " 1",
    LONG + " 2",
    "x",
    "X",
    " x",
    "1; --",
]
MODELS = [None, "FMB920", "fmb920", "<i>&", "protocol:omnicomm", LONG]
PROTOCOLS = [None, "teltonika", "omnicomm", "wialon-ips"]
FIRMWARE = [None, "03.27.07", "unknown", "312", "a,b&c=d"]


def fleet(chance):
    """Terminals with everything that makes lists go wrong: nulls, equal values, long and quoted ones."""
    rows = []
    for n, name in enumerate(itertools.islice(itertools.cycle(NAMES), 40)):
        rows.append(
            {
                "terminal": f"{chance.choice(['wl/', '', 'Z', 'z', '%', 'a b ', chr(0x416)])}{n}",
                "name": name,
                "protocol": chance.choice(PROTOCOLS),
                "model": chance.choice(MODELS),
                "model_told": chance.choice([None, None, *MODELS[1:]]),
                "firmware": chance.choice(FIRMWARE),
                "connected": chance.random() < 0.3,
                "verdicts": {kind: chance.choice(VERDICTS) for kind in KINDS},
            }
        )
    return rows


def model_of(row):
    by_protocol = f"protocol:{row['protocol']}" if row["protocol"] else "unknown"
    return next((m for m in (row["model_told"], row["model"]) if m is not None), by_protocol)


def holds(row, wanted):
    """The contract's words for each parameter, as plainly as can be."""
    verdict = wanted.get("verdict")
    if verdict:
        kinds = [wanted["kind"]] if "kind" in wanted else list(KINDS)
        worst = max((row["verdicts"][kind] for kind in kinds), key=VERDICTS.index)
        if worst != verdict:
            return False
    search = wanted.get("search", "").lower()
    return (
        ("protocol" not in wanted or (row["protocol"] or "unknown") == wanted["protocol"])
        and ("model" not in wanted or model_of(row) == wanted["model"])
        and (
            "firmware" not in wanted
            or (row["firmware"] if row["firmware"] is not None else "unknown") == wanted["firmware"]
        )
        and ("connected" not in wanted or row["connected"] is (wanted["connected"] == "yes"))
        and (search in row["terminal"].lower() or search in (row["name"] or "").lower())
    )


def wish(chance, rows):
    """A choice that somebody might make, of values that there are and of one that there is not."""
    row = chance.choice(rows)
    told = {
        "protocol": row["protocol"] or "unknown",
        "model": chance.choice([model_of(row), "nonesuch"]),
        "firmware": row["firmware"] or "unknown",
        "connected": chance.choice(["yes", "no"]),
        "verdict": chance.choice(VERDICTS),
        "kind": chance.choice(list(KINDS)),
        "search": chance.choice([row["terminal"][:4], (row["name"] or "q")[:5], "%", "_", "\\", "Х"]),
        "sort": chance.choice(["", "-"]) + chance.choice(list(SORTS)),
        "limit": chance.choice([1, 2, 3, 7, 50, 500]),
    }
    kept = chance.sample(sorted(told), chance.randrange(5))
    return {name: told[name] for name in kept if told[name] != ""}


async def pages(client, wanted):
    found, cursor, total = [], None, None
    while True:
        answer = await client.get("/api/terminals?" + urlencode(wanted | ({"cursor": cursor} if cursor else {})))
        assert answer.status_code == 200, (wanted, answer.text)
        page = answer.json()
        assert len(page["items"]) <= wanted.get("limit", 50)
        assert total in (None, page["total"]), "it does not change from page to page"
        total, cursor = page["total"], page["next"]
        found += [item["terminal"] for item in page["items"]]
        if cursor is None:
            assert total == len(found)
            return found


def test_any_choice_is_what_a_plain_loop_chooses(postgres_dsn):
    chance = random.Random(11)
    rows = fleet(chance)
    ranks = {kind: bytearray(200) for kind in KINDS}

    def of(kind):
        chosen = [ranks[kind]] if kind else ranks.values()
        return np.maximum.reduce([np.frombuffer(bytes(one), np.int8) for one in chosen]).tobytes()

    async def main():
        async with site(postgres_dsn, roles=("admin",), ranks=of, kinds=KINDS) as desk, desk.program("admin") as client:
            now = datetime.now(UTC)
            for row in rows:
                told = {name: row[name] for name in ("name", "protocol", "model", "model_told", "firmware")}
                place = await add_terminal(desk.pool, row["terminal"], **told)
                await add_connection(
                    desk.pool,
                    row["terminal"],
                    now - timedelta(hours=1, seconds=place),
                    None if row["connected"] else now,
                )
                for kind, verdict in row["verdicts"].items():
                    ranks[kind][place] = RANKS[verdict]
            sizes = set()
            for _ in range(150):
                wanted = wish(chance, rows)
                found = await pages(client, wanted)
                assert len(set(found)) == len(found), wanted
                assert sorted(found) == sorted(row["terminal"] for row in rows if holds(row, wanted)), wanted
                sizes.add(len(found))
                if "sort" in wanted:
                    other = wanted | {"sort": "-" + wanted["sort"] if wanted["sort"][0] != "-" else wanted["sort"][1:]}
                    assert await pages(client, other) == found[::-1], wanted
            assert len(sizes) > 12
            for name in ("protocol", "model", "firmware", "verdict", "connected"):
                words = {"protocol": PROTOCOLS[1:], "verdict": VERDICTS, "connected": ("yes", "no")}.get(name)
                values = {*(words or ()), "unknown"} if name == "protocol" else words
                if values is None:
                    values = {model_of(row) if name == "model" else row["firmware"] or "unknown" for row in rows}
                parts = [await pages(client, {name: value}) for value in values]
                assert sorted(itertools.chain(*parts)) == sorted(row["terminal"] for row in rows), (
                    f"{name} leaves nobody out"
                )

    asyncio.run(main())
