"""What each action of people does to a ticket, what it leaves behind, and what it refuses."""

import asyncio
from datetime import timedelta

import pytest

from tests.ticketing.desk_parts import execute, fetch, pool_of
from tests.ticketing.desk_world import ENGINEER, MANAGER, NOW, Desk
from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError, WrongInputError
from ticketing.core.journal import verify
from ticketing.model.states import MOVES, PEOPLE, Action
from ticketing.tickets.facts import Actor

POLICY = "support-procedure"
QUALIFIED = {"class": "software", "component": "server"}
ASKED = ("ask", {"items": ["Which server?"]})
FIXED = [("take", {}), ("fix", {"text": "restarted"})]
PHONED = ("consent", {"means": "phone", "by": "Ann"})


def at_desk(dsn, story, policy=POLICY):
    """Run a story with a desk, its client and one new ticket of his; its journal must verify in the end."""

    async def run():
        async with pool_of(dsn, size=2) as pool:
            desk = Desk(pool, policy)
            client = await desk.client()
            ticket = await desk.ticket(client, description="since Monday")
            await story(desk, client, ticket)
            (number,) = await desk.row(ticket, "number")
            async with pool.connection() as connection:
                assert await verify(connection, number) == (1, [])

    asyncio.run(run())


# before: actions done first; then the action, what it is told, the state after, message, letters and open tasks of it.
DOES = {
    "take": ([], {}, "in_work", None, ["work_started"], []),
    "assign": ([], {"team": "second"}, "new", None, [], []),
    "qualify": ([], QUALIFIED, "new", None, [], []),
    "note": ([], {"text": "looked"}, "new", ("note", False, "looked"), [], []),
    "reply": ([("qualify", QUALIFIED)], {"text": "try it"}, "in_work", ("out", True, "try it"), ["reply"], []),
    "ask": ([("qualify", QUALIFIED)], {"items": ["A?", "B?"]}, "waiting_client", ("out", True, "1. A?\n2. B?"),
            ["question"], []),
    "answer": ([("qualify", QUALIFIED), ASKED], {"items": {"Which server?": "one"}}, "new",
               ("in", True, "Which server?: one"), [], []),
    "eta": ([], {"eta": "2026-11-17T10:00:00Z"}, "in_work", None, ["eta"], []),
    "vendor": ([], {"system": "maker", "case": "7"}, "waiting_vendor", None, ["progress"], []),
    "vendor-done": ([("vendor", {"system": "maker"})], {}, "new", None, [], []),
    "defer": ([], {"code": "not_reproducible", "text": "tried", "until": "2026-12-01T10:00:00Z"}, "deferred",
              ("out", True, "tried"), ["deferral"], []),
    "resume": ([("take", {}), ("vendor", {"system": "maker"})], {}, "in_work", None, [], []),
    "visit": ([("qualify", QUALIFIED)], {"reason": "asked"}, "visit", None, ["progress"], []),
    "visit-done": ([("qualify", QUALIFIED), ("visit", {"reason": "asked"})], {"outcome": "fixed"}, "in_work", None, [],
                   []),
    "fix": ([("take", {})], {"text": "restarted"}, "awaiting_consent", ("note", False, "restarted"), ["recovered"],
            ["call"]),
    "consent": (FIXED, {"means": "phone", "by": "Ann"}, "awaiting_consent", None, [], []),
    "dispute": (FIXED, {"text": "no"}, "in_work", ("in", True, "no"), [], []),
    "close": ([*FIXED, PHONED], {}, "closed", None, ["closed"], []),
    "reopen": ([*FIXED, PHONED, ("close", {})], {"text": "again"}, "in_work", ("note", False, "again"), [], []),
    "withdraw": ([], {"reason": "scrapped"}, "closed", None, ["closed"], []),
}  # fmt: skip
EVENTS = {
    "take": ["human-action"],
    "reply": ["public-message", "human-action"],
    "ask": ["public-message", "human-action"],
    "eta": ["public-message", "human-action"],
    "vendor": ["human-action"],
    "defer": ["public-message", "human-action"],
    "visit": ["visit-needed", "human-action"],
    "fix": ["fault-fixed", "service-restored", "human-action"],
    "consent": ["human-action"],
    "close": ["ticket-closed", "human-action"],
    "reopen": ["reopened"],
    "withdraw": ["ticket-closed"],
    "qualify": ["zone-localised"],
}


@pytest.mark.parametrize("action", DOES)
def test_an_action_does_this(shared_dsn, action):
    before, said, state, message, letters, tasks = DOES[action]

    async def story(desk, _client, ticket):
        for earlier, its in before:
            await desk.do(earlier, ticket, **its)
        left = await desk.left(action, ticket, **said)
        assert left.state == state
        ((written, data),) = left.journal
        assert written == action
        assert data.get("events", []) == EVENTS.get(action, [])
        others = [kind for kind in left.letters if kind != "work_started"]
        assert left.messages == ([message] if message else [])
        assert (left.letters if action == "take" else others) == letters
        assert left.tasks == tasks
        assert ("message" in data) == bool(message)

    at_desk(shared_dsn, story)


REFUSED = [
    ("reply", [], {"text": "x"}, ConflictError, "qualified"),
    ("ask", [], {"items": ["A?"]}, ConflictError, "qualified"),
    ("visit", [], {"reason": "asked"}, ConflictError, "qualified"),
    ("visit", [("qualify", QUALIFIED)], {}, WrongInputError, "reason"),
    ("ask", [("qualify", QUALIFIED)], {}, WrongInputError, "items"),
    ("answer", [("qualify", QUALIFIED), ASKED], {}, WrongInputError, "answered"),
    ("assign", [], {}, WrongInputError, "neither owner nor team"),
    ("assign", [], {"owner": "nobody"}, WrongInputError, "no user"),
    ("qualify", [], {}, WrongInputError, "class"),
    ("eta", [], {"eta": "2026-11-01T10:00:00Z"}, WrongInputError, "future"),
    ("eta", [], {"eta": "2026-12-01T10:00:00"}, WrongInputError, "offset"),
    ("vendor", [], {}, WrongInputError, "system"),
    ("waive", [], {"check": "fix", "reason": "x"}, NotFoundError, "no check"),
    ("waive", [], {"check": "fix"}, WrongInputError, "reason"),
    ("task-done", [], {"task": 999_999, "outcome": "x"}, NotFoundError, "no task"),
    ("defer", [], {"code": "not_reproducible", "until": "2026-12-01T10:00:00Z"}, WrongInputError, "text"),
    ("defer", [], {"code": "no_data", "text": "x"}, ConflictError, "not asked"),
    ("defer", [], {"code": "misuse", "text": "x"}, WrongInputError, "proof"),
    ("defer", [], {"code": "out_of_scope"}, WrongInputError, "clause"),
    ("consent", FIXED, {}, WrongInputError, "consent needs a text"),
    ("close", FIXED, {}, ConflictError, "consent on record"),
    ("close", [*FIXED, PHONED], {"cause": "luck"}, WrongInputError, "cause"),
    ("close", [*FIXED, PHONED, ("dispute", {}), ("fix", {"text": "again"})], {}, ConflictError, "consent on record"),
    ("withdraw", [], {"reason": "bored"}, WrongInputError, "reason"),
    ("withdraw", [], {"reason": "explained"}, NotAllowedError, "only the watch"),
    ("merge", [], {}, WrongInputError, "into"),
    ("merge", [], {"into": "DZ-0"}, NotFoundError, "no ticket"),
    ("split", [], {"subject": "two"}, WrongInputError, "messages"),
    ("split", [], {"subject": "two", "messages": [999_999]}, WrongInputError, "messages"),
    ("link", [], {"to": "DZ-0"}, WrongInputError, "kind"),
]


@pytest.mark.parametrize(
    ("action", "before", "said", "error", "why"), REFUSED, ids=[f"{r[0]}-{r[4].replace(' ', '-')}" for r in REFUSED]
)
def test_an_action_is_refused_and_nothing_is_written(shared_dsn, action, before, said, error, why):
    async def story(desk, _client, ticket):
        for earlier, its in before:
            await desk.do(earlier, ticket, **its)
        was = await desk.row(ticket, "ticket.*")
        count = await everything(desk.pool)
        with pytest.raises(error, match=why):
            await desk.do(action, ticket, **said)
        assert await desk.row(ticket, "ticket.*") == was
        assert await everything(desk.pool) == count

    at_desk(shared_dsn, story)


async def everything(pool):
    """How many rows there are of what an action writes."""
    tables = ("ticket", "journal", "ticket_message", "letter", "task", "ticket_link")
    return [(await fetch(pool, f"SELECT count(*) FROM {name}"))[0] for name in tables]


def test_roles(shared_dsn):
    """Each action by each role that it is not of; the guard comes before anything else is looked at."""

    async def story(desk, client, ticket):
        for action in PEOPLE:
            for role in {"crew", "client", "viewer", "engineer", "manager", "admin"} - MOVES[action].roles:
                actor = client.actor if role == "client" else Actor("x", role)
                with pytest.raises(NotAllowedError, match=f"may not {action}"):
                    await desk.do(action, ticket, actor, text="x")
        for of_time in (Action.RECOVERED, Action.DEEMED, Action.RECHECK, Action.RELAPSED):
            with pytest.raises(NotAllowedError):
                await desk.do(of_time, ticket, Actor("x", "admin"))

    at_desk(shared_dsn, story)


def test_vendor_needs_green_or_waived_checks(shared_dsn):
    async def story(desk, _client, ticket):
        for name, result in (("fix", "red"), ("ports", "unknown"), ("firmware", "green")):
            await execute(
                desk.pool,
                "INSERT INTO precheck (ticket, name, result, at) VALUES (%s, %s, %s, %s)",
                ticket, name, result, NOW,
            )  # fmt: skip
        with pytest.raises(ConflictError, match=r"waived: fix, ports$"):
            await desk.do("vendor", ticket, system="maker")
        await desk.do("waive", ticket, check="fix", reason="indoors")
        with pytest.raises(ConflictError, match=r"waived: ports$"):
            await desk.do("vendor", ticket, system="maker")
        await desk.do("waive", ticket, check="ports", reason="none used")
        assert (await desk.left("vendor", ticket, system="maker")).state == "waiting_vendor"
        found = await fetch(desk.pool, "SELECT waived_by, reason FROM precheck WHERE ticket = %s AND name = 'fix'",
                            ticket)  # fmt: skip
        assert found == [("igor", "indoors")]

    at_desk(shared_dsn, story)


def test_the_button_agrees_and_closes_at_once(shared_dsn):
    async def story(desk, client, ticket):
        for action, said in FIXED:
            await desk.do(action, ticket, **said)
        left = await desk.left("consent", ticket, client.actor, means="button")
        assert [action for action, _ in left.journal] == ["consent", "close"]
        assert (left.state, left.letters, left.tasks) == ("closed", ["closed"], [])
        assert await desk.row(ticket, "ended", "consent_by") == ("consent", client.actor.name)

    at_desk(shared_dsn, story)


def test_a_deferral_for_lack_of_data_after_a_question(shared_dsn):
    async def story(desk, _client, ticket):
        await desk.do("qualify", ticket, **QUALIFIED)
        await desk.do(ASKED[0], ticket, **ASKED[1])
        assert (await desk.left("defer", ticket, code="no_data")).state == "deferred"

    at_desk(shared_dsn, story)


def test_reopening_ends_with_its_window(shared_dsn):
    async def story(desk, client, ticket):
        for action, said in [*FIXED, PHONED, ("close", {})]:
            await desk.do(action, ticket, **said)
        (closed_at,) = await desk.row(ticket, "closed_at")
        desk.now = closed_at + timedelta(days=7)
        with pytest.raises(ConflictError, match="follow-up"):  # one second later
            await desk.do("reopen", ticket, client.actor, text="again")
        desk.now -= timedelta(seconds=2)
        await desk.do("reopen", ticket, client.actor, text="again")
        assert await desk.row(ticket, "state", "cycle", "consent_at", "closed_at") == ("in_work", 2, None, None)
        with pytest.raises(ConflictError):
            await desk.do("close", ticket)

    at_desk(shared_dsn, story)


def test_tickets_of_two_clients_are_not_merged(shared_dsn):
    async def story(desk, _client, ticket):
        other = await desk.ticket(await desk.client())
        (number,) = await desk.row(other, "number")
        with pytest.raises(ConflictError, match="two clients"):
            await desk.do("merge", ticket, into=number)

    at_desk(shared_dsn, story)


def test_a_merged_number_leads_to_the_survivor(shared_dsn):
    async def story(desk, client, ticket):
        survivor = await desk.ticket(client)
        numbers = [(await desk.row(one, "number"))[0] for one in (ticket, survivor)]
        with pytest.raises(ConflictError, match="into itself"):
            await desk.do("merge", ticket, into=numbers[0])
        left = await desk.left("merge", ticket, into=numbers[1])
        assert (left.state, left.letters) == ("closed", [])
        assert left.journal == [("merge", {"into": numbers[1], "events": ["merged"]})]
        assert await desk.row(ticket, "ended", "merged_into") == ("merged", survivor)
        assert await desk.do("note", numbers[0], text="by the old number") == survivor
        with pytest.raises(ConflictError, match="into itself"):
            await desk.do("merge", survivor, into=numbers[0])
        assert (await desk.row(survivor, "state"))[0] == "new"

    at_desk(shared_dsn, story)


def test_a_split_keeps_both(shared_dsn):
    async def story(desk, _client, ticket):
        await desk.do("note", ticket, text="two things")
        messages = await fetch(desk.pool, "SELECT id, text FROM ticket_message WHERE ticket = %s ORDER BY id", ticket)
        left = await desk.left("split", ticket, subject="the other", messages=[messages[0][0]])
        assert left.state == "new"
        ((child, title),) = await fetch(
            desk.pool, "SELECT t.id, t.title FROM ticket_link l JOIN ticket t ON t.id = l.child"
            " WHERE l.parent = %s AND l.kind = 'split-from'", ticket,
        )  # fmt: skip
        assert title == "the other"
        assert await fetch(desk.pool, "SELECT text FROM ticket_message WHERE ticket = %s", child) == [("since Monday",)]
        assert await fetch(
            desk.pool, "SELECT id, text FROM ticket_message WHERE ticket = %s ORDER BY id", ticket
        ) == messages  # fmt: skip
        assert await desk.row(child, "organisation", "reporter") == await desk.row(ticket, "organisation", "reporter")

    at_desk(shared_dsn, story)


def test_parents_make_no_circle(shared_dsn):
    async def story(desk, client, ticket):
        rows = [ticket, await desk.ticket(client), await desk.ticket(client)]
        a, b, c = [(await desk.row(one, "number"))[0] for one in rows]
        with pytest.raises(ConflictError, match="with itself"):
            await desk.do("link", a, to=a, kind="parent")
        await desk.do("link", a, to=b, kind="parent")
        await desk.do("link", b, to=c, kind="parent")
        for child, parent in ((b, a), (c, a), (c, b)):
            with pytest.raises(ConflictError, match="stands above"):
                await desk.do("link", child, to=parent, kind="parent")
        await desk.do("link", c, to=a, kind="follow-up")

    at_desk(shared_dsn, story)


def test_a_new_degree_by_a_policy_whose_client_sets_it_needs_a_reason(shared_dsn):
    async def story(desk, client, _ticket):
        ticket = await desk.ticket(client, criticality=2)
        with pytest.raises(WrongInputError, match="priority"):
            await desk.do("qualify", ticket, MANAGER, priority=3, **QUALIFIED)
        left = await desk.left("qualify", ticket, MANAGER, priority=3, reason="it still drives", **QUALIFIED)
        assert left.journal[0][1]["was"] == 2
        assert left.letters == ["progress"]
        assert await desk.row(ticket, "priority", "priority_reason") == (3, "it still drives")

    at_desk(shared_dsn, story, "after-sales")


def test_a_tier_that_only_reports_may_not_close(shared_dsn):
    async def story(desk, _client, ticket):
        await desk.do("escalate", ticket, reason="on site")
        await desk.do("escalate", ticket, reason="on site")
        with pytest.raises(ConflictError, match="no tier beyond 3"):
            await desk.do("escalate", ticket, reason="further")
        for action, said in [*FIXED, PHONED]:
            await desk.do(action, ticket, **said)
        with pytest.raises(NotAllowedError, match="tier 3 may not close"):
            await desk.do("close", ticket, ENGINEER)
        await desk.do("close", ticket, MANAGER)

    at_desk(shared_dsn, story, "after-sales")


def test_a_task_is_done_once(shared_dsn):
    async def story(desk, _client, ticket):
        for action, said in FIXED:
            await desk.do(action, ticket, **said)
        ((task,),) = await fetch(desk.pool, "SELECT id FROM task WHERE ticket = %s AND done_at IS NULL", ticket)
        left = await desk.left("task-done", ticket, task=task, outcome="phoned")
        assert left.tasks == []
        with pytest.raises(ConflictError, match="done already"):
            await desk.do("task-done", ticket, task=task, outcome="phoned")

    at_desk(shared_dsn, story)
