"""What the search box and its JSON twin find: numbers as people and letters write them, identities, names."""

import asyncio
import json
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ticketing.desk.parts import add_connection, site
from tests.ticketing.desk_parts import add_terminal, execute, raise_one
from ticketing.channels.email import Mail, MailSettings
from ticketing.core.numbers import parse, ticket_number
from ticketing.core.outbox import Outgoing
from ticketing.desk.queries import FOUND

NAMES = {"352093081429150": "Truck 12", "77001": "Автобус Ёлка", "wl/odd one": "100%_sure", "Ящик-1": None}


@pytest.fixture(scope="module")
def searched(shared_dsn):
    """Asks for many words at once: `searched([words])` are the answers, each as (tickets, terminals)."""

    async def fill():
        async with site(shared_dsn, roles=("admin", "client")) as desk:
            for n, (identity, name) in enumerate(NAMES.items()):
                row = await add_terminal(desk.pool, identity, name=name)
                number = (await raise_one(desk.pool, row, 1.79e9 + n)).number
            digits = number.removeprefix("DZ-")
            await add_terminal(desk.pool, digits, name="a small identity")
            return number, digits

    number, digits = asyncio.run(fill())

    def ask(words, role="admin", path="/api/search"):
        async def main():
            async with site(shared_dsn, roles=()) as desk, desk.program(role) as client:
                return [await client.get(path, params={"q": word}) for word in words]

        return asyncio.run(main())

    ask.number, ask.digits = number, digits
    return ask


def found(answer):
    assert answer.status_code == 200, answer.text
    told = answer.json()
    return [t["number"] for t in told["tickets"]], [t["terminal"] for t in told["terminals"]]


FORMS = (
    "{n}", "#{n}", "[#{n}]", "# {n}", " {n} ", "№{d}", "№ {n}", "DZ {d}", "dz{d}", "DZ–{d}", "DZ—{d}", "DZ‑{d}",
    "#{d}", "[#{n} ]", "\u00a0{n}\u00a0", "DZ\u00a0{d}",
)  # fmt: skip


def test_a_number_is_found_as_people_and_letters_write_it(searched):
    asked = [form.format(n=searched.number, d=searched.digits) for form in FORMS]
    for words, answer in zip(asked, searched(asked), strict=True):
        assert found(answer)[0] == [searched.number], words


def test_the_tag_of_a_letters_subject_is_a_number():
    """What an engineer marks in the mail program is what the search box takes."""
    number = ticket_number(1001)
    ticket = {
        "number": number, "title": "Truck", "terminal": "t", "kind": "silence", "zone": "unknown", "priority": 2,
        "opened_at": "2026-11-16T10:00:00Z", "due_at": None, "journal": [],
    }  # fmt: skip
    body = json.dumps({"ticket": ticket})
    mail = Mail(MailSettings("mail.example", sender="desk@example.org", to=("a@example.org",)), b"k")
    letter = mail.letter(Outgoing("1", "ticket.opened", number, body)).decode("ascii")
    (subject,) = [line for line in letter.split("\r\n") if line.startswith("Subject: ")]
    tag = subject.removeprefix("Subject: ").split(" ")[0]
    assert parse(tag) == number


@given(st.integers(1, 10**12), st.sampled_from(FORMS), st.data())
def test_no_form_lets_a_mistyped_digit_pass(sequence, form, data):
    number = ticket_number(sequence)
    digits = number.removeprefix("DZ-")
    at = data.draw(st.integers(0, len(digits) - 1))
    wrong = data.draw(st.sampled_from([digit for digit in string.digits if digit != digits[at]]))
    mistyped = digits[:at] + wrong + digits[at + 1 :]
    assert parse(form.format(n=f"DZ-{mistyped}", d=mistyped)) is None
    assert parse(form.format(n=number, d=digits)) == number


@given(st.text(alphabet="DdZz-#[]№– \t0123456789x", max_size=24))
def test_what_is_read_as_a_number_is_one(text):
    read = parse(text)
    if read is not None:
        assert parse(read) == read, "and reads back as itself"
        assert read.removeprefix("DZ-") in text


def test_a_terminal_whose_identity_reads_like_a_number_is_found_too(searched):
    """Families other than those with an IMEI count their terminals from one."""
    (api,) = searched([searched.digits])
    assert found(api) == ([searched.number], [searched.digits])
    (page,) = searched([searched.digits], path="/search")
    assert page.status_code == 200, "two are meant: the page shows both and leads to neither"
    assert f'href="/tickets/{searched.number}"' in page.text
    assert f'href="/terminals/{searched.digits}"' in page.text
    (page,) = searched([searched.number], path="/search")
    assert page.headers["location"] == f"/tickets/{searched.number}", "with its prefix it is a ticket's alone"


@pytest.mark.parametrize("blank", ["", " ", "\t", "\u00a0", "\u2003 "])
def test_nothing_asked_finds_nothing(searched, blank):
    api, *_ = searched([blank])
    assert found(api) == ([], [])
    (page,) = searched([blank], path="/search")
    assert page.status_code == 200
    assert "Type part of a terminal" in page.text


@pytest.mark.parametrize(
    ("words", "terminals"),
    [
        ("автобус", ["77001"]),
        ("АВТОБУС", ["77001"]),
        ("ёлка", ["77001"]),
        ("truck", ["352093081429150"]),
        ("100%", ["wl/odd one"]),
        ("%", ["wl/odd one"]),
        ("_", ["wl/odd one"]),
        ("100_", []),
        ("\\", []),
        ("ящик", ["Ящик-1"]),
        ("Ящик-1", ["Ящик-1"]),
        ("  77001 ", ["77001"]),
        ("3520", ["352093081429150"]),
        ("nothing like it", []),
    ],
)
def test_terminals_are_found_by_part_of_identity_or_name(searched, words, terminals):
    (answer,) = searched([words])
    assert found(answer)[1] == terminals


def test_an_identity_whole_hides_those_that_only_hold_it(searched, shared_dsn):
    async def more():
        async with site(shared_dsn, roles=()) as desk:
            for n in range(FOUND + 5):
                await add_terminal(desk.pool, f"77001-{n}")
            await add_connection(desk.pool, "77001", datetime(2026, 1, 1, tzinfo=UTC))

    asyncio.run(more())
    try:
        part, whole, page = *searched(["7700", "77001"]), *searched(["77001"], path="/search")
        assert len(found(part)[1]) == FOUND, "as many as a page takes"
        assert found(whole)[1] == ["77001"]
        assert page.headers["location"] == "/terminals/77001"
    finally:
        asyncio.run(forget(shared_dsn))


async def forget(dsn):
    async with site(dsn, roles=()) as desk:
        await execute(desk.pool, "DELETE FROM terminal WHERE identity LIKE '77001-%%'")


def test_who_sees_nothing_finds_nothing(searched):
    words = [searched.number, searched.digits, "77001", "Truck", ""]
    for answer in searched(words, role="client"):
        assert found(answer) == ([], [])
