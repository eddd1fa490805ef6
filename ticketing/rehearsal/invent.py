"""A labelled month, made up: faults of a fleet, mail, calls, portal, answers quick, late and never, absent engineers.

    invent(policy, days=30, seed=1, vehicles=500, engineers=4) → lines of a script

What happens is drawn from one generator, so the same seed gives the same month. Lines are planned without knowing what
the desk will say: what it refuses then (a ticket that is closed already, a letter that never came) is part of a month.
Shares below are assumptions of ours, chosen so that every rule of a policy is met some times in a month.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ticketing.policies import Policy
from ticketing.rehearsal.script import Line

BEGIN = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)  # a Monday, before any preset opens
LANGUAGES = ("en", "ru", "zh")
PER_CLIENT = 40  # vehicles
FAULTS = 0.25  # of a vehicle in a month; fleets of trackers have some 2 to 5 % silent at any time
REQUESTS = 0.12  # of a vehicle in a month, by people
KINDS = ("silence",) * 6 + ("power", "fuel-sensor", "gnss", "firmware")
ZONES = ("unknown",) * 5 + ("sim-operator", "wiring-power", "terminal", "sensor")
CLASSES = ("network", "hardware", "software", "consulting")
SUBJECTS = {
    "en": ("No data since yesterday", "The fuel level jumps", "Please correct the track", "A wrong address"),
    "ru": ("Нет данных со вчерашнего дня", "Скачет уровень топлива", "Трек с разрывами", "Неверный адрес"),
    "zh": ("昨天起没有数据", "油位跳动", "轨迹中断", "地址错误"),
}
YES = {"en": "Yes, it works.", "ru": "Да, работает.", "zh": "是的，已经好了。"}
NO = {"en": "No, still nothing.", "ru": "Нет, не работает.", "zh": "不行，还是没有数据。"}


def invent(policy: Policy, *, days: int, seed: int, vehicles: int, engineers: int) -> list[Line]:
    """The lines of a month, in order of time.

    Parameters
    ----------
    days, vehicles, engineers : how long, how many; each at least 1.
    """
    month = _Month(policy, random.Random(seed), days, vehicles, engineers)  # noqa: S311  # no secret
    lines = [*month.people(), *month.faults(), *month.requests(), *month.strangers(), *month.outage()]
    lines.sort(key=lambda entry: (entry[0], entry[1]))
    return [
        Line(number, at, said.pop("do"), said.pop("ref", None), said)
        for number, (at, _, said) in enumerate(lines, start=1)
        if at <= BEGIN + timedelta(days=days)
    ]


Entry = tuple[datetime, int, dict[str, Any]]


class _Month:
    def __init__(self, policy: Policy, dice: random.Random, days: int, vehicles: int, engineers: int) -> None:
        self.policy = policy
        self.dice = dice
        self.days = days
        self.vehicles = vehicles
        self.engineers = engineers
        self.clients = -(-vehicles // PER_CLIENT)
        self.place = 0
        zone = policy.working_time.zone
        self.zone = zone.info

    def entry(self, at: datetime, do: str, **said: Any) -> Entry:
        """One line; those of one instant keep the order in which they were made."""
        self.place += 1
        said = {name.rstrip("_"): value for name, value in said.items() if value is not None}
        return at, self.place, {"do": do, **said}

    def people(self) -> Iterator[Entry]:
        """Clients with their contracts, contacts and vehicles; the desk's own people."""
        plans = [table.name for table in self.policy.file.plan]
        for n in range(self.engineers):
            yield self.entry(BEGIN, "user", ref=f"engineer{n}", role="engineer", tier=1 + n % 2)
        yield self.entry(BEGIN, "user", ref="manager", role="manager")
        for n in range(self.clients):
            deemed = n % 3 == 2
            yield self.entry(
                BEGIN, "organisation", ref=f"client{n}", name=f"Client {n}", language=LANGUAGES[n % 3],
                plan=plans[n % len(plans)] if plans else None, contract={"consent": "deemed"} if deemed else None,
            )  # fmt: skip
            yield self.entry(
                BEGIN, "contact", ref=f"duty{n}", organisation=f"client{n}", name=f"Duty {n}",
                emails=[f"duty{n}@client{n}.example"], phones=[f"+7000000{n:04d}"], code_word=f"word{n}",
                roles=["duty", "outage"], quiet_hours="22:00-07:00" if n % 4 == 1 else None,
            )  # fmt: skip
            yield self.entry(
                BEGIN, "contact", ref=f"user{n}", organisation=f"client{n}", name=f"User {n}",
                emails=[] if n % 5 == 4 else [f"user{n}@client{n}.example"], phones=[f"+7000001{n:04d}"],
            )  # fmt: skip
        for n in range(self.vehicles):
            yield self.entry(
                BEGIN, "vehicle", ref=f"v{n}", organisation=f"client{n % self.clients}", plate=f"A{n:04d}BC",
                terminal=f"35000000{n:07d}",
            )  # fmt: skip

    def faults(self) -> Iterator[Entry]:
        """What the watch sees, and what becomes of it."""
        for n in range(self.count(FAULTS)):
            vehicle = self.dice.randrange(self.vehicles)
            at = self.some_time()
            ref, terminal, kind = f"f{n}", f"35000000{vehicle:07d}", self.dice.choice(KINDS)
            zone = self.dice.choice(ZONES)
            yield self.entry(at, "finding", ref=ref, terminal=terminal, kind=kind, zone=zone)
            yield from self.work(ref, at, vehicle % self.clients)
            mended = at + self.after(hours=self.dice.choice((2, 8, 30, 90)))
            if self.dice.random() < 0.85:
                yield self.entry(mended, "recovered", terminal=terminal, kind=kind)
                if self.dice.random() < 0.1:  # a relapse within the proof
                    again = mended + timedelta(minutes=self.dice.randrange(1, 5))
                    yield self.entry(again, "finding", terminal=terminal, kind=kind)
                    mended = again + self.after(hours=4)
                    yield self.entry(mended, "recovered", terminal=terminal, kind=kind)
                yield from self.agreement(ref, mended + timedelta(minutes=6), vehicle % self.clients)

    def requests(self) -> Iterator[Entry]:
        """What clients bring by mail, phone and portal."""
        for n in range(self.count(REQUESTS)):
            vehicle = self.dice.randrange(self.vehicles)
            client = vehicle % self.clients
            language = LANGUAGES[client % 3]
            at, ref = self.some_time(), f"r{n}"
            subject = self.dice.choice(SUBJECTS[language])
            way = self.dice.random()
            if way < 0.5:
                yield self.entry(
                    at, "mail", ref=ref, from_=f"duty{client}@client{client}.example", to="support@desk.example",
                    subject=subject, text=f"{subject}: A{vehicle:04d}BC",
                )  # fmt: skip
                if self.dice.random() < 0.1:  # a responder that answers everything
                    yield self.entry(
                        at + timedelta(minutes=1), "mail", from_=f"duty{client}@client{client}.example",
                        answers=f"{ref}/ack/1", text="I am away.", headers={"Auto-Submitted": "auto-replied"},
                    )  # fmt: skip
            elif way < 0.8:
                yield self.entry(
                    at, "ticket", ref=ref, channel="phone", reporter=f"duty{client}", subject=subject,
                    vehicle=f"v{vehicle}", code_word=f"word{client}" if self.dice.random() < 0.9 else "wrong",
                    new=True,
                )  # fmt: skip
            else:
                yield self.entry(
                    at, "ticket", ref=ref, channel="portal", as_=f"duty{client}", subject=subject, description=subject,
                    steps="look at the map", frequency="often", criticality=3, class_="software", server="main",
                    version="1.0", vehicle=f"v{vehicle}", new=True,
                )  # fmt: skip
            yield self.entry(
                at + self.after(hours=1), "qualify", ticket=ref, as_=self.engineer(), class_=self.dice.choice(CLASSES),
                component="terminal",
            )  # fmt: skip
            yield from self.work(ref, at + timedelta(minutes=5), client)
            fixed = at + self.after(hours=self.dice.choice((3, 20, 60)))
            if self.dice.random() < 0.8:
                yield self.entry(fixed, "fix", ticket=ref, as_=self.engineer(), text="It was corrected.")
                yield from self.agreement(ref, fixed, client)

    def work(self, ref: str, at: datetime, client: int) -> Iterator[Entry]:
        """Somebody takes it, in time, late or never; asks, names a time, puts it off."""
        way = self.dice.random()
        if way > 0.92:
            return
        taken = at + (self.after(hours=1) if way < 0.7 else self.after(hours=12))
        engineer = self.engineer()
        yield self.entry(taken, "take", ticket=ref, as_=engineer)
        if self.dice.random() < 0.3:
            asked = taken + self.after(hours=1)
            yield self.entry(asked, "ask", ticket=ref, as_=engineer, items=["Is it in use?", "Since when?"])
            answer = self.dice.random()
            if answer < 0.75:
                late = self.after(hours=2) if answer < 0.5 else self.after(hours=100)
                yield self.entry(asked + late, "answer", ticket=ref, as_=f"duty{client}", text="It is in use.")
        if self.dice.random() < 0.3:
            eta = taken + self.after(hours=2)
            due = (eta + timedelta(hours=self.dice.choice((2, 8, 24)))).isoformat()
            yield self.entry(eta, "eta", ticket=ref, as_=engineer, eta=due, basis="plan")
        if self.dice.random() < 0.1:
            until = (taken + timedelta(days=3)).isoformat()
            yield self.entry(
                taken + self.after(hours=3), "defer", ticket=ref, as_=engineer, code="not_reproducible",
                text="Three attempts, no fault.", until=until,
            )  # fmt: skip
        if self.dice.random() < 0.15:
            yield self.entry(taken + self.after(hours=4), "reply", ticket=ref, as_=engineer, text="We are at it.")

    def agreement(self, ref: str, at: datetime, client: int) -> Iterator[Entry]:
        """The client's consent: by button, mail or phone, late or never; or a no."""
        way = self.dice.random()
        said = at + (self.after(hours=5) if self.dice.random() < 0.7 else self.after(hours=80))
        language = LANGUAGES[client % 3]
        sender = f"duty{client}@client{client}.example"
        letter = f"{ref}/recovered/1"
        if way < 0.35:
            yield self.entry(said, "press", letter=letter, button="fixed")
        elif way < 0.5:
            yield self.entry(said, "mail", from_=sender, answers=letter, text=YES[language])
            yield self.entry(said + self.after(hours=2), "close", ticket=ref, as_="manager")
        elif way < 0.65:
            yield self.entry(said, "consent", ticket=ref, as_="manager", by=f"Duty {client}", means="phone")
            yield self.entry(said + timedelta(minutes=1), "close", ticket=ref, as_="manager", cause="fault")
        elif way < 0.75:
            yield self.entry(said, "mail", from_=sender, answers=letter, text=NO[language])

    def strangers(self) -> Iterator[Entry]:
        """Mail from who is nobody's contact: a request, a quoted number, a newsletter."""
        for n in range(max(1, self.days // 3)):
            at = self.some_time()
            yield self.entry(
                at, "mail", from_=f"eve{n}@else.example", subject="[#{f0.number}] news" if n % 2 else "Hello",
                text="Please tell me all.", headers={"Precedence": "bulk"} if n % 3 == 2 else None,
            )  # fmt: skip

    def outage(self) -> Iterator[Entry]:
        """One afternoon without service, longer than an hour."""
        at = BEGIN + timedelta(days=self.days / 2, hours=8)
        yield self.entry(at, "service", up=False)
        yield self.entry(at + timedelta(minutes=90), "service", up=True)
        away = BEGIN + timedelta(days=self.days / 3)
        yield self.entry(away, "intake", agents=0)
        yield self.entry(away + timedelta(hours=10), "intake", agents=self.engineers)

    def count(self, share: float) -> int:
        """How many of something that a share of vehicles has in a month of thirty days."""
        return max(1, round(self.vehicles * share * self.days / 30))

    def some_time(self) -> datetime:
        """An instant of the month; two in three within the day's hours."""
        day = BEGIN + timedelta(days=self.dice.randrange(self.days))
        hours = self.dice.uniform(0, 10) if self.dice.random() < 2 / 3 else self.dice.uniform(0, 24)
        return day + timedelta(seconds=round(hours * 3600))

    def after(self, *, hours: float) -> timedelta:
        """About so long."""
        return timedelta(seconds=round(hours * 3600 * self.dice.uniform(0.3, 1.5)))

    def engineer(self) -> str:
        """One of them."""
        return f"engineer{self.dice.randrange(self.engineers)}"
