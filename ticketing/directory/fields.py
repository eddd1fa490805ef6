"""The forms of people's pages, as tables: each field's name in the API, what it is called, and how it is entered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from starlette.datastructures import FormData

from ticketing.kit.vocabulary import ROLES
from ticketing.kit.words import CALLED, N_

MAX_SHOWN = 4000


class Field(NamedTuple):
    """One field. `kind`: line, area, lines (a list), check, choice, password, date.

    `empty` is what an empty field means: "null", "text" (an empty one) or "leave" (as it is).
    """

    name: str
    words: str
    kind: str = "line"
    options: Mapping[str, str] = {}
    empty: str = "null"
    hint: str = ""
    required: bool = False


LANGUAGE = Field("language", N_("Language"), "choice", CALLED)
ZONE = Field("time_zone", N_("Time zone"), hint=N_("an IANA name, such as Europe/Moscow"))
ACTIVE = Field("active", N_("Active"), "check")
CONSENT = {"explicit": N_("the client says so"), "deemed": N_("also by silence")}
STAGES = {"in_use": N_("In use"), "workshop": N_("Workshop"), "season": N_("Season"), "sold": N_("Sold")}

OWN = (LANGUAGE, ZONE)
ORGANISATION = (
    Field("name", N_("Name"), required=True),
    LANGUAGE._replace(required=True),
    ZONE,
    Field("policy", N_("Policy"), hint=N_("empty: the desk's own")),
    Field("plan", N_("Plan"), hint=N_("empty: the lowest")),
    Field("contract.number", N_("Contract number")),
    Field("contract.from", N_("Contract from"), "date"),
    Field("contract.to", N_("Contract to"), "date"),
    Field("contract.service_city", N_("Service city")),
    Field("contract.hot_swap", N_("Hot swap of units"), "check"),
    Field("contract.consent", N_("Consent to close"), "choice", CONSENT, required=True),
    Field("contract.deemed_after", N_("Silence is consent after"), hint=N_("such as 10d; empty: as the policy says")),
    Field("project_manager", N_("Project manager")),
    Field("engineers", N_("Engineers"), "lines", hint=N_("user names, one a line")),
    Field("profile", N_("Notes on the client"), "area", empty="text", hint=N_("for the desk alone")),
    ACTIVE,
)
CONTACT = (
    Field("name", N_("Name"), required=True),
    Field("emails", N_("E-mail addresses"), "lines", hint=N_("one a line")),
    Field("phones", N_("Phone numbers"), "lines", hint=N_("with their country, one a line")),
    LANGUAGE._replace(hint=N_("empty: the organisation's")),
    Field("quiet_hours", N_("Quiet hours"), hint=N_("such as 22:00-07:00")),
    Field("roles", N_("Roles"), "lines", hint=N_("reporter, duty, outage, finance: one a line")),
    Field("code_word", N_("Code word"), "password", empty="leave", hint=N_("asked for on the phone; empty: as it is")),
    ACTIVE,
)
VEHICLE = (
    Field("name", N_("Name"), empty="text"),
    Field("plate", N_("Number plate"), empty="text"),
    Field("terminal", N_("Terminal"), hint=N_("its identity")),
    Field("site", N_("Site")),
    Field("stage", N_("Stage"), "choice", STAGES, empty="leave"),
    Field("accepted_at", N_("Accepted on"), "date", hint=N_("the warranty begins")),
    Field("components", N_("Components"), "lines", hint=N_("one a line")),
    ACTIVE,
)
OF_CLIENT = tuple(field for field in VEHICLE if field.name not in ("terminal", "accepted_at"))
USER = (
    Field("role", N_("Role"), "choice", ROLES, required=True),
    Field("password", N_("New password"), "password", empty="leave", hint=N_("ends the sessions and tokens")),
    Field("organisations", N_("Organisations"), "lines", hint=N_("of a client: their numbers, one a line")),
    Field("teams", N_("Teams"), "lines", hint=N_("one a line")),
    Field("tier", N_("Tier")),
    Field("skills", N_("Skills"), "lines", hint=N_("one a line")),
    Field("email", N_("E-mail address"), hint=N_("letters to staff go there")),
    Field("absent_until", N_("Away until"), hint=N_("such as 2026-03-02T08:00:00+03:00: until then no tickets")),
    LANGUAGE,
    ZONE,
    Field("totp", N_("Code at the sign-in"), "check"),
    ACTIVE,
)
_FIRST = Field("password", N_("Password"), "password", hint=N_("at least 8 characters"), required=True)
NEW_USER = (
    Field("name", N_("Name"), required=True),
    *(_FIRST if field.name == "password" else field for field in USER if field.name != "totp"),
)


def entered(form: FormData, fields: Sequence[Field]) -> dict[str, Any]:
    """What the form says, as the JSON body of the same thing would."""
    found: dict[str, Any] = {}
    for field in fields:
        raw = [str(value).replace("\r\n", "\n") for value in form.getlist(field.name)]
        text = raw[-1].strip() if raw else ""
        value: Any = text
        if field.kind == "check":
            value = bool(raw)
        elif field.kind == "lines":
            value = [line.strip() for each in raw for line in each.split("\n") if line.strip()]
        elif not text:
            if field.empty == "leave" or field.required:
                if field.required:
                    value = ""
                else:
                    continue
            else:
                value = None if field.empty == "null" else ""
        *path, name = field.name.split(".")
        into = found
        for step in path:
            into = into.setdefault(step, {})
        into[name] = value
    return found


def shown(given: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    """What the form's fields hold: of an object as the API tells it, or of what was entered."""
    found = {}
    for field in fields:
        value: Any = given
        for step in field.name.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if field.kind == "lines":
            value = "\n".join(map(str, value or ()))
        elif field.kind == "check":
            value = bool(value)
        elif field.kind == "password" or value is None:
            value = ""
        elif isinstance(value, date | datetime):
            value = value.isoformat()
        found[field.name] = value if isinstance(value, bool) else str(value)[:MAX_SHOWN]
    return found
