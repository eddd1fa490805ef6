"""What the handlers of people's routes use, put together in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from ticketing.core.db import Pool
from ticketing.core.moments import utc_now
from ticketing.core.sealed import Seal
from ticketing.directory import terms
from ticketing.directory.notices import PeopleNotices
from ticketing.kit.notices import Look, Notices
from ticketing.people.accounts import Accounts
from ticketing.people.contacts import Contacts
from ticketing.people.organisations import Organisations
from ticketing.people.passwords import Passwords
from ticketing.people.totp import SecondFactor
from ticketing.people.vehicles import Vehicles


def directory_parts(
    pool: Pool,
    passwords: Passwords,
    *,
    policy: str,
    seal: Seal,
    looks: Sequence[Look] = (),
    now: Callable[[], datetime] = utc_now,
) -> list[object]:
    """The stores of people; `policy` is the desk's own, `seal` that of secrets, `looks` are others' notices."""
    return [
        Organisations(pool, terms=partial(terms.problems, own=policy), now=now),
        Contacts(pool, passwords, now=now),
        Vehicles(pool, now=now),
        Accounts(pool, passwords, now=now),
        SecondFactor(pool, seal, now=now),
        seal,
        Notices([PeopleNotices(pool, own=policy, now=now), *looks]),
    ]
