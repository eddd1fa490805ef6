"""Organisations under contract: which rules hold for their tickets, and who looks after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType
from psycopg.types.json import Jsonb

from ticketing.core.db import Connection, Pool, escaped
from ticketing.core.errors import Problem
from ticketing.core.moments import utc_now
from ticketing.core.paging import Page
from ticketing.people.fields import Checks, Language, Name, Note, Short, Version
from ticketing.people.records import Records, Table, Values
from ticketing.people.scope import Kind
from ticketing.people.users import User
from ticketing.working_time.budgets import Budget
from ticketing.working_time.budgets import Kind as ClockKind
from ticketing.working_time.errors import ClockInputError

Plan: TypeAlias = Short | Annotated[int, Meta(ge=1, le=99)]
Terms: TypeAlias = Callable[[str | None, str | None], list[Problem]]
Consent: TypeAlias = Literal["explicit", "deemed"]


class Contract(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """What was signed. `consent` is how a ticket may be closed; `deemed_after`, as in `10d`: None is the policy's."""

    number: str | None = None
    from_: date | None = None
    to: date | None = None
    hot_swap: bool = False
    service_city: str | None = None
    consent: Consent = "explicit"
    deemed_after: str | None = None


class ContractTerms(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """What is to be changed of a contract; the rest stays."""

    number: Short | UnsetType | None = UNSET
    from_: date | UnsetType | None = UNSET
    to: date | UnsetType | None = UNSET
    hot_swap: bool | UnsetType = UNSET
    service_city: Name | UnsetType | None = UNSET
    consent: Consent | UnsetType = UNSET
    deemed_after: Annotated[str, Meta(max_length=12)] | UnsetType | None = UNSET


class Organisation(msgspec.Struct, kw_only=True):
    """An organisation. `policy`, `plan`, `time_zone` are None where the desk's own, the lowest, the policy's hold."""

    id: int
    name: str
    language: str
    time_zone: str | None
    policy: str | None
    plan: str | int | None
    contract: Contract
    project_manager: str | None
    engineers: list[str]
    profile: str
    active: bool
    created_at: datetime
    row_version: int


class NewOrganisation(msgspec.Struct, kw_only=True):
    """What is needed of a new one."""

    name: Name
    language: Language = "en"
    time_zone: Short | None = None
    policy: Name | None = None
    plan: Plan | None = None
    contract: ContractTerms = msgspec.field(default_factory=ContractTerms)
    project_manager: Short | None = None
    engineers: list[Short] = []
    profile: Note = ""
    active: bool = True


class ChangedOrganisation(msgspec.Struct, kw_only=True):
    """What may be changed; what is left out stays. `row_version` is the version that was read."""

    name: Name | UnsetType = UNSET
    language: Language | UnsetType = UNSET
    time_zone: Short | UnsetType | None = UNSET
    policy: Name | UnsetType | None = UNSET
    plan: Plan | UnsetType | None = UNSET
    contract: ContractTerms | UnsetType = UNSET
    project_manager: Short | UnsetType | None = UNSET
    engineers: list[Short] | UnsetType = UNSET
    profile: Note | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    row_version: Version | UnsetType = UNSET


def _read(row: Mapping[str, Any]) -> Organisation:
    fields = {name: row[name] for name in Organisation.__struct_fields__}
    fields["contract"] = msgspec.convert(row["contract"], Contract)
    plan = row["plan"]
    fields["plan"] = int(plan) if plan is not None and plan.isascii() and plan.isdecimal() else plan
    return Organisation(**fields)


TABLE = Table("organisation", Kind.ORGANISATION, "organisation x", "x.*", _read, "organisation")


class Organisations(Records[Organisation]):
    """Organisations in the store. `terms` says what is wrong with a policy and a plan of it."""

    def __init__(self, pool: Pool, *, terms: Terms, now: Callable[[], datetime] = utc_now) -> None:
        super().__init__(pool, TABLE, now=now)
        self._terms = terms

    async def list(
        self,
        user: User,
        search: str | None = None,
        active: bool | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Organisation]:
        """Those that `user` sees; `search` is found in name and contract number."""
        where: list[Any] = []
        if search:
            where.append(
                ("(x.name ILIKE %(v)s OR x.contract ->> 'number' ILIKE %(v)s)", f"%{escaped(search)}%"),
            )
        if active is not None:
            where.append(("x.active = %(v)s", active))
        return await self.page(user, where, cursor, limit)

    async def checked(self, connection: Connection, user: User, given: Values, before: Organisation | None) -> Values:
        """Names in one line and unique; zone, policy, plan, users known; a contract that can hold."""
        checks = Checks(given)
        checks.line("name")
        checks.time_zone()
        await checks.users(connection, "project_manager", single=True)
        await checks.users(connection, "engineers")
        values = checks.values
        if "name" in values:
            rows = await connection.execute(
                "SELECT id FROM organisation WHERE lower(name) = lower(%s) AND id <> %s",
                (values["name"], before.id if before else 0),
            )
            if (same := await rows.fetchone()) is not None:
                checks.wrong(
                    "name", f"organisation {same[0]} is called that already", "change that one, or give another"
                )
        if values.get("plan") is not None:
            values["plan"] = str(values["plan"])
        policy = values.get("policy", before.policy if before else None)
        plan = values.get("plan", before.plan if before else None)
        checks.problems += self._terms(policy, None if plan is None else str(plan))
        if "contract" in values:
            values["contract"] = Jsonb(_contract(checks, values["contract"], before.contract if before else Contract()))
        checks.raise_any()
        return values

    async def written(self, connection: Connection, number: int, before: Organisation | None) -> None:
        """Its terminals carry its name."""
        if before is not None:
            await connection.execute(
                """UPDATE terminal e SET customer = o.name FROM vehicle v JOIN organisation o ON o.id = v.organisation
                   WHERE v.terminal = e.id AND o.id = %s AND e.customer IS DISTINCT FROM o.name""",
                (number,),
            )


def _contract(checks: Checks, given: ContractTerms, before: Contract) -> Any:
    """The contract with what was given, as the store keeps it."""
    changed = {name: value for name, value in msgspec.structs.asdict(given).items() if value is not UNSET}
    contract = msgspec.structs.replace(before, **changed)
    if contract.from_ and contract.to and contract.to < contract.from_:
        checks.wrong("contract.to", "the contract ends before it begins", "give a later day")
    if contract.deemed_after is None:  # with "deemed": after what the policy says
        return msgspec.to_builtins(contract)
    if contract.consent != "deemed":
        checks.wrong("contract.deemed_after", 'it goes with "consent": "deemed"', "give both, or null")
    if not _is_span(contract.deemed_after):
        checks.wrong("contract.deemed_after", f"{contract.deemed_after!r} is no span", "give one such as 10d or 48h")
    return msgspec.to_builtins(contract)


def _is_span(text: str) -> bool:
    for kind in (ClockKind.WORKING_DAYS, ClockKind.WORKING):
        try:
            Budget.parse(text, kind)
        except ClockInputError:
            continue
        return True
    return False
