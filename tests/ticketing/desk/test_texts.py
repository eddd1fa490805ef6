"""What people type is kept whole, by form and by JSON alike, in every language to the last of 10 000 letters."""

import asyncio
import itertools
import re
from html import unescape
from urllib.parse import quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.ticketing.desk.parts import hidden, sign_in, site
from tests.ticketing.desk.test_login import HERE, kept
from tests.ticketing.desk_parts import add_terminal, fetch, raise_one
from ticketing.kit.shield import MAX_BODY
from ticketing.kit.uploads import MAX_FIELDS
from ticketing.model.tickets import TEXT_LIMIT

ALPHABETS = {"Latin": "x", "accented": "é", "Cyrillic": "я", "Chinese": "汉", "emoji": "🚚", "lines": "\n"}


@pytest.fixture(scope="module")
def number(shared_dsn):
    async def fill():
        async with site(shared_dsn, roles=("admin", "engineer")) as desk:
            return (await raise_one(desk.pool, await add_terminal(desk.pool, "t"))).number

    return asyncio.run(fill())


def run(dsn, work):
    async def main():
        async with site(dsn, roles=()) as desk:
            return await work(desk)

    return asyncio.run(main())


async def last_text(desk):
    ((text,),) = await fetch(desk.pool, "SELECT text FROM journal ORDER BY ticket DESC, seq DESC LIMIT 1")
    return text


@pytest.mark.parametrize("letter", ALPHABETS.values(), ids=ALPHABETS)
def test_the_longest_text_is_taken_whole(shared_dsn, number, letter):
    """By the form a letter costs up to twelve bytes, by JSON in ASCII as many."""
    text = f"a{letter * (TEXT_LIMIT - 2)}z"

    async def work(desk):
        found = []
        async with desk.signed_in("admin") as browser, desk.program("admin") as program:
            page = await browser.get(f"/tickets/{number}")
            typed = text.replace("\n", "\r\n")  # so do browsers
            answer = await browser.post(f"/tickets/{number}/note", data=hidden(page.text) | {"text": typed})
            found.append((answer.status_code, answer.headers.get("location"), await last_text(desk)))
            ascii_json = {"text": text}
            answer = await program.post(f"/api/tickets/{number}/note", json=ascii_json)
            found.append((answer.status_code, await last_text(desk)))
            longer = await program.post(f"/api/tickets/{number}/note", json={"text": text + "z"})
            return found, longer.status_code, longer.json()

    (by_form, by_api), status, refused = run(shared_dsn, work)
    assert by_form == (303, f"/tickets/{number}", text)
    assert by_api == (200, text)
    assert (status, [error["field"] for error in refused["errors"]]) == (422, ["text"])


def test_the_dearest_form_there_can_be_fits_and_twice_as_much_does_not():
    text = quote_plus("🚚" * TEXT_LIMIT)
    assert len(text) == 12 * TEXT_LIMIT
    others = 1000  # token, cause, path to go to
    assert len(text) + others < MAX_BODY < 2 * len(text)


@pytest.mark.parametrize("letter", ALPHABETS.values(), ids=ALPHABETS)
def test_the_longest_text_outlives_its_session(shared_dsn, number, letter):
    text = f"a{letter * (TEXT_LIMIT - 2)}z"
    path = f"/tickets/{number}"

    async def work(desk):
        async with desk.signed_in("engineer") as browser:
            own = hidden((await browser.get(path)).text)
            del browser.cookies["dozor_session"]
            data = own | {"text": text.replace("\n", "\r\n")}
            ended = await browser.post(f"{path}/note", data=data, headers=HERE)
            assert ended.status_code == 401
            assert kept(ended.text) == text
            fields = hidden(ended.text) | {"kept": kept(ended.text).replace("\n", "\r\n")}
            answer = await sign_in(browser, "engineer", **{k: v for k, v in fields.items() if k != "csrf"})
            page = await browser.get(answer.headers["location"])
            return kept(page.text, "text")

    assert run(shared_dsn, work) == text


TEXTS = st.text(
    alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r"), min_size=1, max_size=200
).filter(str.strip)


ODD = [
    "</textarea><script>alert(1)</script>",
    "\n\nbegins with lines",
    "a\u2028b\x85c\x0bd",
    "=?utf-8?b?x?= & < > \" ' ` %20 + {{ 7 * 7 }}",
]


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(ODD)
@given(st.lists(TEXTS, min_size=6, max_size=6))
def test_any_text_is_journalled_as_typed_and_shown_as_text(shared_dsn, number, texts):
    async def work(desk):
        found = []
        async with desk.signed_in("admin") as browser, desk.program("admin") as program:
            page = await browser.get(f"/tickets/{number}")
            for text in texts:
                await browser.post(f"/tickets/{number}/note", data=hidden(page.text) | {"text": text})
                by_form = await last_text(desk)
                answer = await program.post(f"/api/tickets/{number}/note", json={"text": text})
                found.append((by_form, answer.json()["journal"][-1]["text"]))
            return found, (await browser.get(f"/tickets/{number}")).text

    found, shown = run(shared_dsn, work)
    assert found == [(text.strip(), text.strip()) for text in texts]
    said = re.findall(r'<p class="said">(.*?)</p>', shown, re.DOTALL)
    assert [unescaped(text) for text in said[-2 * len(texts) :: 2]] == [text.strip() for text in texts]


def unescaped(html):
    """Back to text by what must be escaped alone, so that a forgotten sign would tell."""
    assert not re.search(r"[<>\"']", html), html
    for name, sign in (("#34", '"'), ("#39", "'"), ("lt", "<"), ("gt", ">"), ("amp", "&")):
        html = html.replace(f"&{name};", sign)
    return html


def test_nothing_typed_is_said_and_writes_nothing(shared_dsn, number):
    async def work(desk):
        before = await fetch(desk.pool, "SELECT count(*) FROM journal")
        async with desk.signed_in("admin") as browser, desk.program("admin") as program:
            page = await browser.get(f"/tickets/{number}")
            for action in ("note", "ask", "consent"):
                for text in ("", " ", "\r\n\r\n", "\t \n", "\u2003"):
                    answer = await browser.post(f"/tickets/{number}/{action}", data=hidden(page.text) | {"text": text})
                    assert f"{action} needs a text" in unescape((await browser.get(answer.headers["location"])).text)
                    api = await program.post(f"/api/tickets/{number}/{action}", json={"text": text})
                    (error,) = api.json()["errors"]
                    assert (api.status_code, error["problem"].startswith(f"{action} needs a text")) == (422, True)
        return before == await fetch(desk.pool, "SELECT count(*) FROM journal")

    assert run(shared_dsn, work)


CHARSETS = ("utf-7", "undefined", "unicode_escape", "idna", "utf-16", "rot13", "x" * 300, "")


@pytest.mark.parametrize("path", ["/login", "/tickets/{}/note", "/logout"])
def test_a_form_that_says_how_to_be_read_is_refused(shared_dsn, number, path):
    """Some encodings make half letters that no store takes, or fail in ways of their own; no page of ours sends one."""
    value = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'

    async def work(desk):
        async with desk.signed_in("admin") as browser:
            page = await browser.get("/login" if path == "/login" else f"/tickets/{number}")
            before = await fetch(desk.pool, "SELECT count(*) FROM journal")
            answers = []
            for charset, odd in itertools.product(CHARSETS, (b"+2AA-", b"\\ud800", b"\xff\xfe\x00\xd8", b"admin")):
                fields = {"csrf": hidden(page.text)["csrf"].encode(), "username": odd, "password": odd, "text": odd}
                body = b"".join(value % (name.encode(), given) for name, given in fields.items()) + b"--x--\r\n"
                kind = "multipart/form-data; boundary=x" + (f"; charset={charset}" if charset else "")
                headers = {"content-type": kind, **HERE}
                answers.append((await browser.post(path.format(number), content=body, headers=headers)).status_code)
            ((after,),) = await fetch(desk.pool, "SELECT count(*) FROM journal")
            return answers, after - before[0][0]

    answers, written = run(shared_dsn, work)
    # A note may bring files: without a charset such a form is one of ours, refused like others.
    note = path.endswith("/note")
    assert answers == [400] * 4 * (len(CHARSETS) - 1) + [303 if note else 400] * 4
    assert written == 0, "a note takes no user name"


def test_a_form_of_too_many_fields_is_refused(shared_dsn, number):
    async def work(desk):
        async with desk.signed_in("admin") as browser:
            page = await browser.get(f"/tickets/{number}")
            own = hidden(page.text)
            found = []
            for count in (MAX_FIELDS - 1, MAX_FIELDS, MAX_FIELDS + 1, 5000):
                data = own | {"text": "counted"} | {f"f{n}": "x" for n in range(count - len(own) - 1)}
                found.append((await browser.post(f"/tickets/{number}/note", data=data)).status_code)
            return found

    assert run(shared_dsn, work) == [303, 303, 400, 400]


def test_of_fields_of_one_name_the_last_counts(shared_dsn, number):
    """As browsers fill a form in: what a page repeats, its last field decides."""

    async def work(desk):
        async with desk.signed_in("admin") as browser:
            page = await browser.get(f"/tickets/{number}")
            body = f"csrf=wrong&text=first&text=last&csrf={hidden(page.text)['csrf']}"
            headers = {"content-type": "application/x-www-form-urlencoded"}
            answer = await browser.post(f"/tickets/{number}/note", content=body, headers=headers)
            return answer.status_code, await last_text(desk)

    assert run(shared_dsn, work) == (303, "last")
