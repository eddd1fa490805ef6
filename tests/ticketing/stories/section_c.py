"""C. Required fields."""

import pytest

from tests.ticketing.stories.story import ANN, CLIENT, TERMINAL, Story, event, instant, line, mail, phone


def asks(*items):
    return lambda missing: set(items) <= set(missing)


STORIES = [
    Story(
        "S1-16 S1-17 S1-19 S1-21",
        "What a request lacks is listed: steps, frequency, version, a contact; the watch's own lacks nothing",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "bare", class_="hardware"),
            phone("03-02T10:01", "full", class_="hardware", description="dark", steps="switch it on", frequency="often",
                  criticality=2, vehicle="v1", version="03.28"),
            line("03-02T10:02", "ticket", ref="nobody", channel="api", subject="No data"),
            line("03-02T10:03", "finding", ref="seen", terminal=TERMINAL, kind="power"),
        ],
        [
            event("opened", ticket="bare", missing=asks("description", "steps", "frequency", "version", "vehicle")),
            event("opened", ticket="full", missing=[]),
            event("opened", ticket="nobody", missing=asks("contacts")),
            event("opened", ticket="seen", missing=[]),
        ],
        letters={"ack": 3},
    ),
    Story(
        "S1-21",
        "A request of somebody who cannot be written to asks for a call at once",
        "support-procedure",
        [
            *CLIENT,
            line("03-02T10:00", "contact", ref="dan", organisation="acme", name="Dan", phones=["+70000000009"]),
            line("03-02T10:01", "ticket", ref="t", channel="phone", reporter="dan", subject="No data"),
        ],
        [event("opened", ticket="t"), event("task", ticket="t", kind="call")],
    ),
    Story(
        "S1-20",
        "The client's criticality stays beside what the desk makes of it",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "t", criticality=1),
            line("03-02T10:05", "qualify", ticket="t", as_="igor", class_="software", priority=3),
            line("03-02T10:06", "qualify", ticket="t", as_="igor", class_="software", priority=3, reason="one report"),
            line("03-02T10:07", "qualify", ticket="t", as_="igor", class_="software", priority=1),
        ],
        [event("opened", ticket="t", priority=1), event("refused", do="qualify", status=422)],
        never=[event("refused", at="2026-03-02T07:07:00Z")],
        letters={"ack": 1},
    ),
    Story(
        "S2-11",
        "Each missing item is named, by the portal's refusal and to the sender of a letter",
        "dealer-desk",
        [
            *CLIENT,
            line("03-02T10:00", "ticket", ref="p", channel="portal", as_="ann", subject="Map", class_="software",
                 description="white"),
            mail("03-02T10:01", "m"),
        ],
        [
            event("refused", do="ticket", status=422,
                  reason=lambda why: all(item in why for item in ("steps", "server", "version"))),
            event("opened", ticket="m", missing=asks("steps")),
            event("letter", ticket="m", kind="ack", to=[ANN]),
        ],
    ),
    Story(
        "S2-22",
        "Support asks item by item, the client answers item by item, and the work goes on",
        "dealer-desk",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            line("03-02T10:05", "ask", ticket="t", as_="igor", items=["Firmware?"]),
            line("03-02T10:10", "qualify", ticket="t", as_="igor", class_="hardware"),
            line("03-02T10:11", "take", ticket="t", as_="igor"),
            line("03-02T10:12", "ask", ticket="t", as_="igor", items=["Firmware?", "Serial?"]),
            line("03-02T11:00", "answer", ticket="t", as_="ann", items={"Firmware?": "03.28", "Serial?": "77"}),
        ],
        [
            event("refused", do="ask", status=409),
            event("state", ticket="t", to="waiting_client"),
            event("letter", ticket="t", kind="question", to=[ANN]),
            event("state", ticket="t", to="in_work", by="Ann"),
        ],
        letters={"ack": 1, "work_started": 1, "question": 1},
    ),
    Story(
        "S3-9",
        "The operator records the caller and what was found: what is not said is asked for",
        "carrier-helpdesk",
        [
            *CLIENT,
            line("03-02T10:00", "ticket", ref="anonymous", channel="phone", subject="No data"),
            line("03-02T10:01", "ticket", ref="number", channel="phone", subject="No data", phone="+70000000033",
                 description="dark since Monday, the lamp is red"),
        ],
        [
            event("opened", ticket="anonymous", missing=["description", "contacts"]),
            event("opened", ticket="number", missing=[]),
        ],
        until="03-02T10:01",
        letters={},
    ),
    Story(
        "S1-2",
        "Nothing is answered, asked or visited before it is qualified",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "t"),
            line("03-02T10:01", "reply", ticket="t", as_="igor", text="Restart it."),
            line("03-02T10:02", "ask", ticket="t", as_="igor", text="Which?"),
            line("03-02T10:03", "visit", ticket="t", as_="igor", reason="asked"),
            line("03-02T10:04", "qualify", ticket="t", as_="igor"),
            line("03-02T10:05", "qualify", ticket="t", as_="igor", class_="network", component="terminal"),
            line("03-02T10:06", "reply", ticket="t", as_="igor", text="Restart it."),
        ],
        [
            *(event("refused", do=do, status=409) for do in ("reply", "ask", "visit")),
            event("refused", do="qualify", status=422),
            event("letter", ticket="t", kind="reply"),
        ],
        letters={"ack": 1, "reply": 1},
    ),
    Story(
        "S1-3",
        "What is supported is server software and controller: each ticket can name its part",
        "support-procedure",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="box", terminal=TERMINAL, kind="silence"),
            phone("03-02T10:01", "server", class_="software", component="platform", server="main"),
        ],
        [
            event("opened", ticket="box", **{"class": "network"}, missing=[]),
            event("opened", ticket="server", **{"class": "software"}, missing=lambda missing: "server" not in missing),
        ],
        letters={"ack": 2},
    ),
    Story(
        "S4-45",
        "Three classes, three ways: only hardware starts the clock of a loan unit, only software asks no vehicle",
        "after-sales",
        [
            *CLIENT,
            *(phone("03-02T10:00", ref, class_=ref, description="-", criticality=3)
              for ref in ("network", "hardware", "software")),
            *(line("03-02T10:05", "qualify", ticket=ref, as_="igor", class_=ref)
              for ref in ("network", "hardware", "software")),
            *(line("03-02T10:06", "take", ticket=ref, as_="igor") for ref in ("network", "hardware", "software")),
        ],
        [
            event("opened", ticket="network", missing=[]),
            event("opened", ticket="hardware", missing=["vehicle"]),
            event("opened", ticket="software", missing=[]),
            event("breach", ticket="hardware", clock="loan-unit", at="2026-03-02T09:05:00Z"),
        ],
        never=[event("breach", ticket="network"), event("breach", ticket="software")],
        letters={"ack": 3, "work_started": 3},
        until="03-02T13:00",
    ),
    Story(
        "S1-18",
        "The server's address is a field; access data are entrusted apart, for a time that ends, and sealed",
        "support-procedure",
        [
            *CLIENT,
            phone("03-02T10:00", "t", server="fleet.acme.example"),
            line("03-02T10:01", "entrust", ticket="t", as_="ann", label="the server", secret="birch and oak"),
            line("03-02T10:02", "entrust", ticket="t", as_="ann", label="the server"),
            line("03-02T10:03", "entrust", ticket="t", as_="ann", label="x", secret="y", until=instant("06-02T10:00")),
        ],
        [
            event("opened", ticket="t", missing=lambda missing: "server" not in missing),
            event("refused", do="entrust", status=422, at="2026-03-02T07:02:00Z"),
            event("refused", do="entrust", status=422, at="2026-03-02T07:03:00Z"),
        ],
        letters={"ack": 1},
        never=[event("refused", at="2026-03-02T07:01:00Z")],
        check=lambda events: None if "birch and oak" not in str(events) else pytest.fail("told"),
        until="03-02T10:10",
    ),
    Story(
        "S1-18",
        "Read by who may, each reading in the journal, in no text or export, erased at their time or with the ticket",
        proof="tests/ticketing/desk/test_entrusted.py::test_access_data_are_sealed_shown_to_who_may_and_erased",
    ),
]  # fmt: skip
