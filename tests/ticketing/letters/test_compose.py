"""Letters by their raw bytes: three languages, hostile words, threads, marks; own texts and what is wrong with them."""

import re
import string
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.ticketing.channels.test_letters import LONG, check
from tests.ticketing.letters.parts import NOW
from ticketing.core.message_ids import bounce_address, bounced_letter, instance_mark, make, name_of, named, verify
from ticketing.letters.compose import Desk, Draft, File, compose, moment, trimmed
from ticketing.letters.kinds import KINDS
from ticketing.letters.texts import LANGUAGES, LISTS, PLACEHOLDERS, Texts, TextsError, problems, shipped, words
from ticketing.working_time.time_zones import zone

SECRET = b"k" * 32
DESK = Desk(SECRET, "Support <support@desk.example>", Texts(), "https://desk.example")
FACTS = {
    "number": "DZ-10017",
    "subject": "No data",
    "plate": "A001AA",
    "description": "It is silent.\nSince noon.",
    "missing": ["steps", "odd_thing"],
    "items": ["Which server?", "Since when?"],
    "text": "First line.\n\nSecond paragraph.",
    "title": "New firmware",
    "eta": "2026-11-17T10:00:00Z",
    "old_eta": "2026-11-16T10:00:00Z",
    "eta_basis": "vendor",
    "started_at": "2026-11-16T08:00:00Z",
    "ended_at": "2026-11-16T10:01:00Z",
    "deferral": {"code": "no_data", "until": "2026-12-01T00:00:00Z"},
    "price": {"visit": 0, "parts": "120 EUR", "warranty": True},
    "saw": {"kind": "silence", "since": "2026-11-16T07:00:00Z"},
    "proof": {"bad_at": "2026-11-16T07:00:00Z", "good_at": "2026-11-16T09:59:00Z"},
    "duty": {"name": "Igor", "phone": "+7 495 000-00-00"},
    "to": {"name": "Ann", "zone": "Europe/Moscow"},
    "old_number": "DZ-10000",
    "register": "2026-14",
    "opened_at": "2026-11-15T10:00:00Z",
    "count": 12,
}
ENTRY = {"number": "DZ-10018", "subject": "Fuel", "letter": "ack"}


def draft(kind="ack", language="en", *, number="DZ-10017", auto=True, references=(), name="Ann", **data):
    content = {**FACTS, **data}
    content["to"] = {**content["to"], "name": name}
    return Draft(7, kind, number, 2, "ann@acme.example", language, auto, content, references, [ENTRY])


def parsed(raw):
    return message_from_bytes(raw, policy=default)


def plain(raw):
    return parsed(raw).get_body(("plain",)).get_content().replace("\r\n", "\n")


def parts_are_valid(raw):
    """RFC 5322, 2045 and 2047 on the bytes themselves, of each part too."""
    head, _, rest = raw.partition(b"\r\n\r\n")
    boundary = re.search(rb'boundary="([^"]{1,70})"', head)[1]
    pieces = rest.split(b"--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1] == b"--\r\n"
    identity = re.search(rb"^Message-ID: .*$", head, re.MULTILINE)[0].strip() + b"\r\n"
    for piece in pieces[1:-1]:
        check(identity + piece.removeprefix(b"\r\n").removesuffix(b"\r\n"))
    check(head + b"\r\n\r\n")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_language(kind, language):
    of_ticket = not kind.startswith(("outage", "advisory", "digest"))
    written = compose(draft(kind, language, number="DZ-10017" if of_ticket else None), DESK, NOW)
    parts_are_valid(written.raw)
    letter = parsed(written.raw)
    assert letter["Subject"] == written.subject
    assert letter["Content-Language"] == language
    assert written.subject.startswith("[#DZ-10017] ") == of_ticket
    assert str(letter["To"]) == "Ann <ann@acme.example>"
    assert letter["Date"].datetime == NOW
    text, html = plain(written.raw), letter.get_body(("html",)).get_content()
    assert f'<html lang="{language}">' in html
    for shown in (text, html):
        assert "Ann" in shown
        assert "Igor" in shown
        assert "support@desk.example" in shown
        assert not re.search(r"\{|\}|None|\ue000|2026-11", shown.replace("2026-14", ""))
    assert re.search({"ru": r"[а-яё]{4}", "zh": r"[\u4e00-\u9fff]{3}", "en": r"\b[a-z]{4}"}[language], text)
    if language != "zh":
        assert not re.search(r"[\u4e00-\u9fff]", text)
    if language != "ru":
        assert not re.search(r"[а-яё]", text)


def test_what_the_letters_say():
    ack = plain(compose(draft(saw=None), DESK, NOW).raw)
    assert "> It is silent.\n> Since noon." in ack
    assert "- the steps that lead to it\n- odd thing" in ack
    assert "Visit: free of charge\nParts: 120 EUR" in ack
    seen = plain(compose(draft(language="ru"), DESK, NOW).raw)
    assert "Терминал ничего не передаёт с 16.11.2026, 10:00 (UTC+3)." in seen
    question = plain(compose(draft("question"), DESK, NOW).raw)
    assert "1. Which server?\n2. Since when?" in question
    recovered = compose(draft("recovered"), DESK, NOW)
    text, html = plain(recovered.raw), parsed(recovered.raw).get_body(("html",)).get_content()
    assert "the latest at 16 November 2026, 12:59 (UTC+3)" in text
    for button in ("fixed", "not_fixed", "in_workshop"):
        assert text.count(f"https://desk.example/l/{recovered.token}?b={button}\n") == 1
        assert f'<a href="https://desk.example/l/{recovered.token}?b={button}"' in html
    assert "in_workshop" not in plain(compose(draft("recovered", plate="", vehicle=""), DESK, NOW).raw)
    assert "17 November 2026, 13:00 (UTC+3)" in plain(compose(draft("delay"), DESK, NOW).raw)
    assert "No repair date is known yet" in plain(compose(draft("outage", number=None, eta=None), DESK, NOW).raw)
    assert "DZ-10018 Fuel: registered" in plain(compose(draft("digest", number=None), DESK, NOW).raw)
    survey = compose(draft("survey"), DESK, NOW)
    assert [f"?b={n}" in plain(survey.raw) for n in (5, 4, 3, 2, 1)] == [True] * 5


def test_automatic_letters_are_marked_and_peoples_are_not():
    marks = ("Auto-Submitted", "X-Auto-Response-Suppress", "Precedence")
    ack, eta = (parsed(compose(draft(kind), DESK, NOW).raw) for kind in ("ack", "eta"))
    assert [ack[one] for one in marks] == ["auto-replied", "All", "bulk"]
    assert [eta[one] for one in marks] == ["auto-generated", "All", "bulk"]
    typed = parsed(compose(draft("reply", auto=False), DESK, NOW).raw)
    assert [typed[one] for one in marks] == [None] * 3
    assert ack["X-Dozor-Instance"] == typed["X-Dozor-Instance"] == instance_mark(SECRET)


def test_the_same_draft_gives_the_same_bytes():
    assert compose(draft(), DESK, NOW) == compose(draft(), DESK, NOW)
    assert compose(draft(), DESK, NOW).raw != compose(draft(), Desk(b"x" * 32, DESK.sender, DESK.texts), NOW).raw


def test_long_foreign_message_ids_are_never_encoded_nor_folded_inside():
    long = [f"<{'A' * n}@PR0P264MB1234.FRAP264.PROD.OUTLOOK.COM>" for n in range(20, 110, 8)]
    head = compose(draft(references=long), DESK, NOW).raw.partition(b"\r\n\r\n")[0].decode()
    kept = [long[0], *long[-8:]]
    assert f"\r\nIn-Reply-To: {long[-1]}\r\n" in head
    assert f"\r\nReferences: {kept[0]}" + "".join(f"\r\n {one}" for one in kept[1:]) + "\r\n" in head
    assert max(map(len, long)) > 82
    assert "=?" not in head


def test_what_is_no_message_id_never_becomes_a_header():
    bad = ["<a@b>\r\nBcc: evil@example.org", "<a b@c>", "", "<é@c.example>", "<" + "x" * 300 + "@y>", "<=?utf-8?q?x?=>"]
    head = compose(draft(references=bad), DESK, NOW).raw.partition(b"\r\n\r\n")[0]
    assert b"In-Reply-To" not in head
    assert b"References" not in head
    assert b"Bcc" not in head
    assert trimmed(["<1@x>", "<2@x>", "<1@x>"]) == ["<1@x>", "<2@x>"]


hostile = st.one_of(
    st.text(max_size=120),
    st.sampled_from(
        [
            "\r\nBcc: evil@example.org\r\n\r\nx",
            "<script>alert(1)</script>",
            "{{ number }}{% if x %}",
            "[#DZ-99999] other",
            '"quoted" <x@y>, z',
            "=?utf-8?q?x?=",
            "\ue000buttons\ue000",
            "--\n- a\n> b",
            "--=_00",
            "\x00\ud800\u2028",
            LONG,
        ]
    ),
)


@settings(max_examples=100, deadline=None)
@given(hostile, hostile, hostile, st.sampled_from(sorted(set(KINDS) - {"digest"})), st.sampled_from(LANGUAGES))
@example("\r\nBcc: evil@example.org", "</p><img src=x onerror=alert(1)>", "[buttons]\n.\n.", "reply", "en")
def test_nothing_that_people_write_becomes_a_header_markup_or_template(subject, text, name, kind, language):
    data = {"subject": subject, "text": text, "description": text, "items": [text], "missing": [subject], "plate": name}
    data |= {"title": subject, "saw": {"kind": subject, "since": text}, "eta": text, "deferral": {"code": name}}
    written = compose(draft(kind, language, name=name, **data), DESK, NOW)
    parts_are_valid(written.raw)
    letter = parsed(written.raw)
    assert letter["Bcc"] is None
    assert letter["To"].addresses[0].addr_spec == "ann@acme.example"
    assert written.subject.count("[#") == 1
    assert written.subject.startswith("[#DZ-10017]")
    html = letter.get_body(("html",)).get_content()
    assert not re.search(r"<(script|img)", html)
    links = re.findall(r'href="([^"]*)"', html)
    assert all(link.startswith("https://desk.example/") for link in links)
    assert len(links) == len(set(links))


@given(st.sampled_from(["t.DZ-10017.3", "l.42", "t.DZ-1.1"]), st.sampled_from(["desk.example", "x.y.z"]))
def test_our_message_ids_are_known_by_their_digest(name, domain):
    identity = named(SECRET, name, domain)
    assert len(identity) <= 60
    assert name_of(SECRET, identity) == name
    assert name_of(SECRET, identity.strip("<>").replace(domain, "moved.example")) == name
    assert name_of(b"other", identity) is None
    digest = identity.rpartition("@")[0][-8:]
    assert name_of(SECRET, identity.replace(digest, f"{int(digest, 16) ^ 1:08x}")) is None


def test_names_of_tickets_and_bounces():
    assert make(SECRET, "DZ-10017", 3, "d.example") == named(SECRET, "t.DZ-10017.3", "d.example")
    assert verify(SECRET, named(SECRET, "t.DZ-10017.3", "d.example")) == ("DZ-10017", 3)
    assert verify(SECRET, named(SECRET, "l.42", "d.example")) is None
    sender = bounce_address(SECRET, "support@desk.example", 42)
    assert re.fullmatch(r"support\+b42\.[0-9a-f]{8}@desk\.example", sender)
    assert bounced_letter(SECRET, f"<{sender.upper()}>") == 42
    assert bounced_letter(SECRET, sender.replace("b42", "b43")) is None
    assert bounced_letter(SECRET, "support@desk.example") is None


@pytest.mark.parametrize(
    ("at", "language", "place", "shown"),
    [
        ("2026-11-16T10:00:00Z", "en", "Europe/Moscow", "16 November 2026, 13:00 (UTC+3)"),
        ("2026-11-16T20:00:00Z", "zh", "Asia/Shanghai", "2026年11月17日 04:00（UTC+8）"),
        ("2026-11-16T10:00:00Z", "ru", "Asia/Kolkata", "16.11.2026, 15:30 (UTC+5:30)"),
        ("2026-11-16T10:00:00Z", "en", "America/St_Johns", "16 November 2026, 06:30 (UTC-3:30)"),
        ("2026-11-16T10:00:00", "ru", "UTC", "16.11.2026, 10:00 (UTC)"),
        ("soon\r\n", "en", "UTC", "soon"),
        ("0001-01-01T00:00:00Z", "en", "America/New_York", "0001-01-01T00:00:00Z"),
        (None, "en", "UTC", ""),
    ],
)
def test_instants_as_people_write_them(at, language, place, shown):
    assert moment(at, language, zone(place).info) == shown


def test_the_catalogues_are_complete():
    english = words("en")
    for language in LANGUAGES:
        assert words(language).keys == english.keys
        for table, key in english.keys:
            own = re.findall(r"\{\w+\}", words(language).get(table, key))
            assert sorted(own) == sorted(re.findall(r"\{\w+\}", english.get(table, key))), (language, key)
    for name, text in shipped().items():
        if name.startswith("en/"):
            for language in LANGUAGES[1:]:
                other = shipped()[name.replace("en/", f"{language}/")]
                for found in PLACEHOLDERS:
                    assert (found in _used(other)) == (found in _used(text)), (language, name, found)
    assert words("xx").get("button", "fixed") == english.get("button", "fixed")


def _used(text):
    return set(re.findall(r"\b[a-z_]+\b", " ".join(re.findall(r"\{[{%](.*?)[%}]\}", text))))


def test_shipped_texts_pass_the_check_of_own_ones(tmp_path):
    for name, text in shipped().items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert problems(tmp_path) == []


def test_own_texts_stand_in_place_of_the_shipped(tmp_path):
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "ack.txt").write_text(
        "Subject: Got it: {{ subject }}\r\n\r\nNumber {{ number }}.\r\n", "utf-8-sig"
    )
    own = Texts.of(tmp_path)
    letter = parsed(compose(draft(), Desk(SECRET, DESK.sender, own), NOW).raw)
    assert letter["Subject"] == "[#DZ-10017] Got it: No data"
    assert "Number DZ-10017." in plain(compose(draft(), Desk(SECRET, DESK.sender, own), NOW).raw)
    assert "Мы открыли" in plain(compose(draft(language="ru"), Desk(SECRET, DESK.sender, own), NOW).raw)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "en/ack.txt",
            "Subject: x\n\n{{ nubmer }}",
            "ack.txt:3: there is no placeholder {{ nubmer }}: did you mean {{ number }}?",
        ),
        ("en/ack.txt", "Hello\n", "ack.txt:1: does not begin with its subject"),
        ("en/ack.txt", "Subject: x\n\n{% if number %}", "ack.txt:3: cannot be read"),
        ("en/ack.txt", "Subject: x\n\n{{ number.__class__.__mro__ }}", "ack.txt: cannot be filled"),
        ("en/ack.txt", b"Subject: \xff", "ack.txt: is not UTF-8"),
        ("en/ack.txt", b"Subject: x\n" + b"x" * 70000, "ack.txt: has more than 65536 bytes"),
        ("en/acks.txt", "Subject: x", "acks.txt: is no text of a letter: did you mean en/ack.txt?"),
        ("de/ack.txt", "Subject: x", "ack.txt: is no text of a letter"),
        ("en/frame.txt", "Hello", "frame.txt: does not say where the text goes: write {{ body }}"),
        ("frame.html", "<p>{{ number }}{{ body }}</p>", "frame.html:1: there is no placeholder {{ number }}"),
        ("readme/.keep", "", "holds no text of a letter"),
    ],
)
def test_what_is_wrong_with_own_texts_is_told_with_its_place(tmp_path, name, text, told):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TextsError) as caught:
        Texts.of(tmp_path)
    assert told in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    (found,) = problems(tmp_path / "nowhere")
    assert found.what == "is no folder"


def test_lists_are_placeholders_too():
    assert LISTS.keys() < PLACEHOLDERS.keys()
    assert set("".join(PLACEHOLDERS)) <= set(string.ascii_lowercase + "_")
    assert datetime(2026, 11, 16, 10, 0, tzinfo=UTC) == NOW


def test_files_go_with_a_letter_under_their_own_names():
    files = [
        File("Схема подключения.pdf", "application/pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20),
        File('a"b\r\nBcc: x.html', "text/html", b"<script>"),
        File("看" * 200 + ".png", "image/png", b"\x89PNG"),
        File("", "weird\r\n/type", b""),
    ]
    raw = compose(replace(draft("reply", auto=False), files=files, left=["huge\r\n.zip"]), DESK, NOW).raw
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.count(b"\n") == raw.count(b"\r\n")
    letter = parsed(raw)
    assert letter["Bcc"] is None
    found = [(part.get_filename(), part.get_content_type()) for part in letter.iter_attachments()]
    assert found == [
        ("Схема подключения.pdf", "application/pdf"),
        ('a"b Bcc: x.html', "application/octet-stream"),
        ("看" * 69 + ".png", "image/png"),
        ("file", "application/octet-stream"),
    ]
    assert [part.get_payload(decode=True) for part in letter.iter_attachments()] == [one.content for one in files]
    assert "These files are too large for a letter and lie with the ticket: huge .zip" in plain(raw)


def test_a_date_that_has_passed_is_no_promise_and_a_question_is_asked_once():
    late = {"eta": "2026-11-16T09:00:00Z", "old_eta": "2026-11-16T09:00:00Z"}
    delay = plain(compose(draft("delay", **late), DESK, NOW).raw)
    assert "by 16 November 2026, 12:00 (UTC+3). It takes longer" in delay
    assert "asked for a new date" in delay
    assert "We expect" not in plain(compose(draft("progress", text="", **late), DESK, NOW).raw)
    assert "by 16 November 2026, 12:00" in plain(compose(draft("eta", **late), DESK, NOW).raw)
    question = plain(compose(draft("question", text="1. Which server?\n2. Since when?"), DESK, NOW).raw)
    assert question.count("Which server?") == 1
    assert question.count("Which server?") == plain(compose(draft("question"), DESK, NOW).raw).count("Which server?")


def test_what_became_of_a_ticket_is_said_in_words():
    regraded = plain(compose(draft("progress", text="", priority=3, reason="one car"), DESK, NOW).raw)
    assert "The priority is now 3, because: one car" in regraded
    visit = plain(compose(draft("progress", "ru", text="", visit="hardware"), DESK, NOW).raw)
    assert "планируем выезд к машине" in visit
    assert "closed: the vehicle is out of service." in plain(
        compose(draft("closed", withdrawn="scrapped"), DESK, NOW).raw
    )
    assert "as we had no answer from you" in plain(compose(draft("closed", deemed=True), DESK, NOW).raw)
