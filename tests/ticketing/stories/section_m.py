"""M. Threads."""

from tests.ticketing.stories.story import BOB, CLIENT, STRANGER, TERMINAL, Story, event, line, mail, phone

STORIES = [
    Story(
        "S1-14 S2-17",
        "Later letters join the first request: by our reference, by the number in the subject or the text, by both",
        "support-procedure",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            mail("03-02T10:10", answers="t/ack/1", subject="something else", text="by reference"),
            mail("03-02T10:20", subject="AW: [#{t.number}] No data", text="by number"),
            mail("03-02T10:30", answers="t/ack/1", subject=None, text="by both"),
            mail("03-02T10:40", "other", subject="No data", text="by neither: a request of its own"),
        ],
        [
            event("opened", ticket="t"),
            event("message", ticket="t", by="message-id"),
            event("message", ticket="t", by="tag"),
            event("message", ticket="t", by="message-id"),
            event("opened", ticket="other"),
        ],
        letters={"ack": 2},
        until="03-02T11:00",
        check=lambda events: _tickets(events, 2),
    ),
    Story(
        "S1-14",
        "A colleague who quotes the number takes part; a stranger's letter is held until somebody lets it in",
        "support-procedure",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            mail("03-02T10:10", from_=BOB, subject="Re: [#{t.number}] No data", text="here too"),
            mail("03-02T10:20", "eve", from_=STRANGER, subject="Re: [#{t.number}] No data", text="tell me all"),
            line("03-02T10:30", "accept", message="eve", as_="max"),
        ],
        [
            event("message", ticket="t", from_="Bob", by="tag"),
            event("held", from_=STRANGER),
            event("message", ticket="t", public=True, at="2026-03-02T07:30:00Z"),
        ],
        never=[event("message", at="2026-03-02T07:20:00Z")],
        letters={"ack": 1},
        until="03-02T11:00",
        check=lambda events: _tickets(events, 1),
    ),
    Story(
        "S1-15",
        "The whole correspondence is one thread: letters, calls and answers; notes are not the client's",
        "support-procedure",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            line("03-02T10:10", "qualify", ticket="t", as_="igor", class_="software"),
            line("03-02T10:11", "note", ticket="t", as_="igor", text="seems to be the browser"),
            line("03-02T10:12", "reply", ticket="t", as_="igor", text="Which browser?"),
            mail("03-02T10:20", answers="t/reply/1", subject=None, text="Firefox"),
            line("03-02T10:30", "note", ticket="t", as_="ann", text="by the portal: version 140"),
        ],
        [
            event("message", ticket="t", direction="in", public=True),
            event("message", ticket="t", direction="note", public=False),
            event("message", ticket="t", direction="out", public=True),
            event("message", ticket="t", direction="in", public=True, by="message-id"),
            event("message", ticket="t", direction="in", public=True, by="api"),
        ],
        letters={"ack": 1, "reply": 1},
        until="03-02T11:00",
    ),
    Story(
        "S1-15",
        "Attachments come back byte for byte",
        proof="tests/ticketing/threads/test_attachments.py::test_equal_files_are_stored_once_and_come_back_byte_for_byte",
    ),
    Story(
        "S2-16",
        "One problem is one correspondence: found again, phoned about and written about",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="silence"),
            line("03-02T10:10", "finding", ref="again", terminal=TERMINAL, kind="silence"),
            phone("03-02T10:20", "call", vehicle="v1"),
            mail("03-02T10:30", "mail", subject="A001AA", text="no data from A001AA"),
            phone("03-02T10:40", "other", vehicle="v1", new=True, subject="Another matter"),
        ],
        [
            event("opened", ticket="t"),
            event("message", ticket="t", direction="in", public=True),
            event("message", ticket="t", direction="in", public=True),
            event("opened", ticket="other"),
        ],
        letters={"ack": 2},
        until="03-02T11:00",
        check=lambda events: _tickets(events, 2),
    ),
    Story(
        "S2-18",
        "A second question gets a thread of its own; nothing is lost on either side",
        "dealer-desk",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            mail("03-02T10:10", answers="t/ack/1", subject=None, text="and the invoice is wrong"),
            line("03-02T10:20", "split", ref="child", ticket="t", as_="igor", messages=[2], subject="Invoice"),
            line("03-02T10:30", "split", ticket="t", as_="igor", messages=[99], subject="Nothing"),
        ],
        [
            event("message", ticket="t", by="message-id"),
            event("opened", ticket="child"),
            event("refused", do="split", status=422),
        ],
        letters={"ack": 2},
        until="03-02T11:00",
        check=lambda events: _tickets(events, 2),
    ),
    Story(
        "S2-18",
        "A reply that names another terminal or plate is pointed at",
        proof="tests/ticketing/mail/test_judge.py::test_hints_for_people",
    ),
]  # fmt: skip


def _tickets(events, count):
    assert events[-1]["summary"]["tickets"] == count
