"""Work on a ticket: who has it, what it is, what is said and asked, who is waited for."""

from __future__ import annotations

from typing import Any

from ticketing.core.errors import ConflictError, NotAllowedError, NotFoundError, Problem, WrongInputError
from ticketing.model.states import Action, State
from ticketing.policies.deferrals import Evidence, refusals
from ticketing.policies.priorities import regrade
from ticketing.tickets import known
from ticketing.tickets.bodies import ahead, needed
from ticketing.tickets.case import Case, Effect, does, incident_open
from ticketing.tickets.tasks import drop_tasks, end_task


def qualified(case: Case) -> None:
    if not case.facts.qualified:
        raise ConflictError(f"{case.action} needs the ticket qualified first: its class, priority and component")


@does(Action.TAKE)
async def _take(case: Case) -> Effect:
    async def then() -> None:
        await known.look(case.connection, case.facts.row, case.at)

    return Effect(data={"from": case.facts.owner} if case.facts.owner else {}, columns={"owner": case.actor.name},
                  letter="", then=then)  # fmt: skip


@does(Action.ASSIGN)
async def _assign(case: Case) -> Effect:
    body = case.body
    if body.owner is None and body.team is None:
        raise WrongInputError(Problem("owner", "neither owner nor team", "name one of them"))
    columns: dict[str, Any] = {}
    if body.owner is not None:
        rows = await case.connection.execute(
            "SELECT name FROM app_user WHERE lower(name) = lower(%s) AND active", (body.owner,)
        )
        found = await rows.fetchone()
        if found is None:
            raise WrongInputError(Problem("owner", f"no user {body.owner!r}", "name one of `dozor user list`"))
        columns["owner"] = found[0]
    if body.team is not None:
        columns["team"] = body.team
    if body.tier is not None:
        columns["tier"] = body.tier
    return Effect(data={"whom": columns.get("owner") or body.team, **columns}, columns=columns)


@does(Action.ESCALATE)
async def _escalate(case: Case) -> Effect:
    needed(case.body, "reason")
    tiers = sorted(table.level for table in case.policy.file.tier)
    wanted = case.body.tier or next((tier for tier in tiers if tier > case.facts.tier), None)
    if wanted is None or (tiers and wanted not in tiers):
        raise ConflictError(f"{case.policy.name} has no tier beyond {case.facts.tier}")
    return Effect(
        data={"tier": wanted, "from": case.facts.tier, "reason": case.body.reason},
        columns={"tier": wanted, **({"team": case.body.team} if case.body.team else {})},
        text=case.body.reason,
    )


@does(Action.QUALIFY)
async def _qualify(case: Case) -> Effect:
    body, facts = case.body, case.facts
    columns: dict[str, Any] = {"qualified": True}
    data: dict[str, Any] = {}
    for name in ("class_", "topic", "component"):
        value = getattr(body, name)
        if value is not None:
            columns[name.rstrip("_")] = data[name.rstrip("_")] = value
    if "class" not in columns and facts.class_ is None:
        raise WrongInputError(Problem("class", "is missing", "network, hardware, software or consulting"))
    effect = Effect(data=data, columns=columns)
    if body.priority is not None and body.priority != facts.priority:
        rule = regrade(
            case.policy, to=body.priority, client=facts.client_priority, role=case.actor.role, reason=body.reason
        )
        if rule.refusal is not None:
            raise WrongInputError(Problem("priority", rule.refusal, "see the policy's [priority_rule]"))
        shown = rule.shown
        columns |= {"priority": body.priority, "priority_reason": body.reason}
        data |= {"priority": body.priority, "was": facts.priority, "reason": body.reason}
        if shown and body.reason:
            effect.letter, effect.letter_data = "progress", {"priority": body.priority, "reason": body.reason}
    if body.jump is not None:
        queue = case.policy.file.queue
        if body.jump and not queue.override:
            raise ConflictError(f"{case.policy.name} lets nobody jump the queue")
        if body.jump and not body.reason:
            raise WrongInputError(Problem("reason", "is missing", "jumping the queue needs one"))
        if body.jump and queue.override_needs == "reason-and-manager" and case.actor.role not in ("manager", "admin"):
            raise NotAllowedError("jumping the queue needs a manager")
        columns["jump"] = data["jump"] = body.jump
        data["reason"] = body.reason
    if body.topic is not None and body.topic != facts.topic:
        columns["team"] = body.topic if body.topic in ("finance", "warranty") else None
        if columns["team"] is not None and facts.given:  # the client's engineer does other things
            columns |= {"owner": None, "given": False}
    events: list[str] = []
    if (body.class_ or facts.class_) == "hardware" and (body.class_ == "hardware" or not facts.qualified):
        events += ["hardware-fault-found", "diagnosis"]
    if body.component:
        events.append("zone-localised")
    if body.topic == "letter" != facts.topic:
        events.append("official-request-received")
    if body.topic == "call-back" != facts.topic:
        events.append("call-back-asked")
    data["what"] = [str(value) for name, value in data.items() if name in ("class", "topic", "component", "priority")]
    effect.events = tuple(events)
    return effect


@does(Action.NOTE)
async def _note(case: Case) -> Effect:
    """Of a client it is a word to the desk: clients have no notes."""
    if case.actor.is_client:
        return Effect(said=("in", True))
    return Effect(said=("note", False))


@does(Action.REPLY)
async def _reply(case: Case) -> Effect:
    qualified(case)
    official = case.facts.topic == "letter"
    effect = Effect(said=("out", True), after=case.facts.state if case.facts.state != State.NEW else State.IN_WORK)
    if case.facts.state == State.NEW:
        effect.columns = {"owner": case.facts.owner or case.actor.name}
    if official:
        effect.letter, effect.events = "official", ("letter-sent",)
    return effect


@does(Action.ASK)
async def _ask(case: Case) -> Effect:
    qualified(case)
    items = list(case.body.items or []) or ([case.text] if case.text else [])
    said = case.text or "\n".join(f"{n}. {item}" for n, item in enumerate(items, start=1))
    return Effect(
        data={"items": items},
        columns={"missing": items},
        said=("out", True), text=said, letter_data={"items": items},
    )  # fmt: skip


@does(Action.ANSWER)
async def _answer(case: Case) -> Effect:
    items = case.body.items if isinstance(case.body.items, dict) else {}
    if not items and not case.text:
        raise WrongInputError(Problem("items", "nothing is answered", "answer the items, or say a text"))
    said = "\n".join([*(f"{item}: {answer}" for item, answer in items.items()), *([case.text] if case.text else [])])
    return Effect(
        data={"items": dict(items)},
        columns={"missing": [i for i in case.facts.missing if i not in items] if items else [], "resumed_at": case.at},
        said=("in", True), text=said, after=case.facts.working,
    )  # fmt: skip


@does(Action.ETA)
async def _eta(case: Case) -> Effect:
    eta = ahead("eta", case.body.eta, case.at)
    basis = case.body.basis or "plan"
    version = case.facts.eta_version + 1

    async def then() -> None:
        await drop_tasks(case.connection, case.facts.row, case.at, "new-eta")

    return Effect(
        data={"eta": eta, "basis": basis, "version": version},
        columns={"eta_at": eta, "eta_basis": basis, "eta_version": version,
                 "owner": case.facts.owner or case.actor.name},
        said=("out", True) if case.text else None, letter_data={"eta": eta, "basis": basis, "version": version},
        then=then,
    )  # fmt: skip


@does(Action.VENDOR)
async def _vendor(case: Case) -> Effect:
    needed(case.body, "system")
    rows = await case.connection.execute(
        "SELECT name FROM precheck WHERE ticket = %s AND result NOT IN ('green', 'waived') ORDER BY name",
        (case.facts.row,),
    )
    if bad := [row[0] for row in await rows.fetchall()]:
        raise ConflictError(f"the vendor is not asked before these are green or waived: {', '.join(bad)}")
    vendor = {"system": case.body.system, "case": case.body.case, "since": case.at}
    return Effect(data=vendor, columns={"vendor": vendor}, letter_data={"vendor": case.body.system},
                  said=("note", False) if case.text else None)  # fmt: skip


@does(Action.VENDOR_DONE)
async def _vendor_done(case: Case) -> Effect:
    return Effect(said=("note", False) if case.text else None, after=case.facts.working)


@does(Action.WAIVE)
async def _waive(case: Case) -> Effect:
    needed(case.body, "reason")
    what = case.body.check or case.body.kit
    if what is None:
        raise WrongInputError(Problem("check", "is missing", "name the check, or the kit's part"))
    if case.body.check is not None:
        rows = await case.connection.execute(
            "UPDATE precheck SET result = 'waived', waived_by = %s, reason = %s, at = %s WHERE ticket = %s"
            " AND name = %s",
            (case.actor.name, case.body.reason, case.at, case.facts.row, what),
        )
        if rows.rowcount == 0:
            raise NotFoundError(f"the ticket has no check {what!r}")
    return Effect(data={"what": what, "reason": case.body.reason})


@does(Action.TASK_DONE)
async def _task_done(case: Case) -> Effect:
    needed(case.body, "task", "outcome")
    kind, data = await end_task(
        case.connection, case.facts.row, case.body.task or 0, case.at, case.actor.name, case.body.outcome or ""
    )
    events = {"call": ("call-made",) if data.get("why") == "call-back" else (), "loan-unit": ("loan-unit-given",),
              "swap": ("unit-replaced",)}.get(kind, ())  # fmt: skip
    return Effect(data={"kind": kind, "outcome": case.body.outcome, "task": case.body.task}, events=events)


@does(Action.DEFER)
async def _defer(case: Case) -> Effect:
    needed(case.body, "code")
    code, facts = case.body.code, case.facts
    rows = await case.connection.execute(
        "SELECT EXISTS (SELECT FROM journal WHERE ticket = %s AND action = 'ask')", (facts.row,)
    )
    asked = await rows.fetchone() == (True,)
    until = case.body.until
    if until is not None and until.tzinfo is None:
        raise WrongInputError(Problem("until", "has no offset", "write 2026-03-02T08:00:00+03:00"))
    evidence = Evidence(case.text, until, case.body.proof, asked)
    if found := refusals(case.policy, code or "", evidence, case.at):
        if any(field == "code" for field, _, _ in found):
            raise ConflictError("; ".join(f"{problem}: {remedy}" for _, problem, remedy in found))
        raise WrongInputError(*(Problem(*one) for one in found))
    deferral = {"code": code, "until": until, "proof": case.body.proof, "text": case.text}
    return Effect(
        data={"code": code, "until": until, "proof": case.body.proof}, columns={"deferral": deferral},
        said=("out", True) if case.text else None, letter_data=deferral,
    )  # fmt: skip


@does(Action.RESUME)
async def _resume(case: Case) -> Effect:
    return Effect(columns={"deferral": None}, after=case.facts.working,
                  said=("note", False) if case.text else None)  # fmt: skip


@does(Action.VISIT)
async def _visit(case: Case) -> Effect:
    qualified(case)
    if case.body.reason not in ("remote_failed", "hardware", "asked"):
        raise WrongInputError(Problem("reason", "is missing", "remote_failed, hardware or asked"))
    return Effect(
        data={"reason": case.body.reason, "crew": case.body.crew, "slot": case.body.slot},
        columns={"owner": case.facts.owner or case.actor.name}, letter_data={"visit": case.body.reason},
    )  # fmt: skip


@does(*(Action.VISIT_CONFIRMED, Action.VISIT_DONE, Action.VISIT_CANCELLED))
async def _visit_step(case: Case) -> Effect:
    after = None
    if case.action != Action.VISIT_CONFIRMED:
        hardware = case.facts.class_ == "hardware" and case.action == Action.VISIT_DONE
        after = State.RECOVERING if hardware and await incident_open(case) else case.facts.working
    return Effect(data={"outcome": case.body.outcome} if case.body.outcome else {}, after=after)
