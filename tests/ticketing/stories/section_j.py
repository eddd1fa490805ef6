"""J. Resolution and closure by consent."""

from tests.ticketing.stories.story import ANN, CLIENT, TERMINAL, Story, client, event, line, mail, phone

FIXED = [
    *CLIENT,
    phone("03-02T10:00", "t", new=True),
    line("03-02T10:10", "take", ticket="t", as_="igor"),
    line("03-02T11:00", "fix", ticket="t", as_="igor", text="a new antenna", cause="antenna"),
]

STORIES = [
    Story(
        "S3-13",
        "Open until the client agrees: not closed by us, by silence or before the fix",
        "carrier-helpdesk",
        [
            *client(contract={"consent": "deemed"}),
            phone("03-02T10:00", "t"),
            line("03-02T10:10", "take", ticket="t", as_="igor"),
            line("03-02T10:20", "close", ticket="t", as_="max"),
            line("03-02T11:00", "fix", ticket="t", as_="igor", text="a new antenna"),
            line("03-02T11:10", "close", ticket="t", as_="max"),
            line("04-15T11:00", "press", letter="t/recovered/1", button="fixed"),
        ],
        [
            event("refused", do="close", status=409),
            event("state", ticket="t", to="awaiting_consent"),
            event("refused", do="close", status=409, at="2026-03-02T08:10:00Z"),
            event("state", ticket="t", to="closed", at="2026-04-15T08:00:00Z"),
        ],
        letters={"ack": 1, "work_started": 1, "recovered": 1, "reminder": 3, "closed": 1},
        check=lambda events: _consents(events, {"explicit": 1}),
    ),
    Story(
        "S3-13",
        "Where contract and policy take silence for consent, it closes a ticket at its instant",
        "support-procedure",
        [
            *client(contract={"consent": "deemed"}),
            phone("03-02T10:00", "t"),
            line("03-02T10:10", "take", ticket="t", as_="igor"),
            line("03-02T11:00", "fix", ticket="t", as_="igor", text="a new version"),
        ],
        [event("state", ticket="t", to="awaiting_consent"), event("state", ticket="t", to="closed")],
        letters={"ack": 1, "work_started": 1, "recovered": 1, "reminder": 3, "closed": 1},
        until="04-01T10:00",
        check=lambda events: _consents(events, {"deemed": 1}),
    ),
    Story(
        "S3-19",
        "After the repair the client is written to and phoned; who has no address is phoned at least",
        "carrier-helpdesk",
        [
            *FIXED,
            line("03-02T11:01", "organisation", ref="delta", name="Delta", language="en"),
            line("03-02T11:01", "contact", ref="dan", organisation="delta", name="Dan", phones=["+70000000009"]),
            line("03-02T12:00", "ticket", ref="mute", channel="phone", reporter="dan", subject="No data"),
            line("03-02T12:10", "fix", ticket="mute", as_="igor", text="a new fuse"),
        ],
        [
            event("task", ticket="t", kind="call"),
            event("letter", ticket="t", kind="recovered", to=[ANN]),
            event("state", ticket="mute", to="awaiting_consent"),
            event("task", ticket="mute", kind="call"),
        ],
        never=[event("letter", ticket="mute")],
        letters={"ack": 1, "work_started": 1, "recovered": 1},
        until="03-02T14:00",
    ),
    Story(
        "S3-20",
        "It ends with the function proven and the reporter told",
        "carrier-helpdesk",
        [
            *CLIENT,
            line("03-02T10:00", "finding", ref="t", terminal=TERMINAL, kind="silence"),
            line("03-02T10:05", "take", ticket="t", as_="igor"),
            line("03-02T11:00", "recovered", terminal=TERMINAL, kind="silence"),
            line("03-02T11:03", "finding", terminal=TERMINAL, kind="silence"),
            line("03-02T12:00", "recovered", terminal=TERMINAL, kind="silence"),
        ],
        [
            event("opened", ticket="t", channel="monitoring"),
            event("letter", ticket="t", kind="ack", to=[ANN]),
            event("state", ticket="t", to="recovering", at="2026-03-02T08:00:00Z"),
            event("state", ticket="t", to="in_work", at="2026-03-02T08:03:00Z"),
            event("state", ticket="t", to="recovering", at="2026-03-02T09:00:00Z"),
            event("state", ticket="t", to="awaiting_consent", at="2026-03-02T09:05:00Z"),
            event("letter", ticket="t", kind="recovered", to=[ANN]),
        ],
        letters={"ack": 1, "work_started": 1, "recovered": 1},
        until="03-02T14:00",
        check=lambda events: _consents(events, {}),
    ),
    Story(
        "S3-21",
        "Phoned and asked: a no goes back to work under the same number, a yes allows closing",
        "carrier-helpdesk",
        [
            *FIXED,
            line("03-02T11:30", "dispute", ticket="t", as_="igor", text="Ann says it is still dark"),
            line("03-02T12:00", "fix", ticket="t", as_="igor", text="another fuse"),
            line("03-02T12:30", "consent", ticket="t", as_="igor", by="Ann", means="phone"),
            line("03-02T12:31", "close", ticket="t", as_="igor", cause="fault"),
        ],
        [
            event("task", ticket="t", kind="call"),
            event("state", ticket="t", from_="awaiting_consent", to="in_work"),
            event("task", ticket="t", kind="call"),
            event("state", ticket="t", to="closed"),
        ],
        letters={"ack": 1, "work_started": 1, "recovered": 2, "closed": 1},
        check=lambda events: _consents(events, {"phoned": 1}),
    ),
    Story(
        "S3-21",
        "A mail says yes or no as well, in the client's language",
        "carrier-helpdesk",
        [
            *FIXED,
            mail("03-02T12:00", answers="t/recovered/1", subject=None, text="Нет, не работает."),
            line("03-02T13:00", "fix", ticket="t", as_="igor", text="another fuse"),
            mail("03-02T14:00", answers="t/recovered/2", subject=None, text="Да, работает."),
            line("03-02T14:01", "close", ticket="t", as_="igor"),
        ],
        [
            event("state", ticket="t", from_="awaiting_consent", to="in_work", by="Ann"),
            event("state", ticket="t", to="closed"),
        ],
        letters={"ack": 1, "work_started": 1, "recovered": 2, "closed": 1},
        check=lambda events: _consents(events, {"explicit": 1}),
    ),
    Story(
        "S2-27",
        "A dealer who does not follow a recommendation: put off with the rule and the proof, not without",
        "dealer-desk",
        [
            *CLIENT,
            mail("03-02T10:00", "t"),
            line("03-02T10:05", "qualify", ticket="t", as_="igor", class_="hardware"),
            line("03-02T10:10", "reply", ticket="t", as_="igor", text="Install release 7 and mount it upright."),
            mail("03-03T10:00", answers="t/reply/1", subject=None, text="We leave it as it is."),
            line("03-03T10:10", "defer", ticket="t", as_="igor", code="misuse", text="Mounting guide, section 3"),
            line("03-03T10:11", "defer", ticket="t", as_="igor", code="misuse", text="Mounting guide, section 3",
                 proof="packet of 09:58: tilt 74 degrees"),
        ],
        [
            event("message", ticket="t", direction="in", by="message-id"),
            event("refused", do="defer", status=422),
            event("state", ticket="t", to="deferred"),
            event("letter", ticket="t", kind="deferral", to=[ANN]),
        ],
        letters={"ack": 1, "reply": 1, "deferral": 1},
    ),
]  # fmt: skip


def _consents(events, means):
    assert events[-1]["summary"]["consents"] == means
