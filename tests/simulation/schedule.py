"""What goes wrong when, all of it drawn from the seed before the run begins; printed when a run fails."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

PROTOCOLS = ("teltonika", "omnicomm", "wialon-ips")
TERMINAL_FAULTS = ("reset", "close", "vanish", "deaf", "damage", "garbage", "stall")

# Limits of the product, lowered so that a few dozen frames reach them: (module, name) -> choices.
LIMITS: dict[tuple[str, str], tuple[int, ...]] = {
    ("pipeline", "BATCH_COST"): (3, 12, 60, 4000),
    ("pipeline", "OVERLAP_COST"): (1, 6, 200),
    ("pipeline", "ACKS_AT_ONCE"): (1, 3, 50),
    ("pipeline", "QUEUE_FRAMES"): (6, 20, 200),
    ("pipeline", "QUEUE_BYTES"): (1500, 8000, 64 << 20),
    ("conversation", "WINDOW_FRAMES"): (1, 4, 1000),
    ("conversation", "WINDOW_COST"): (3, 40, 8000),
    ("connection", "FAIR"): (50, 300, 32 << 10),
    ("connection", "WRITE_BUFFER"): (16, 200, 64 << 10),
    ("keeper", "DRAIN_FRAMES"): (1, 5, 1000),
    ("keeper", "DRAIN_COST"): (1, 20, 4000),
    ("spool", "SEGMENT_BYTES"): (400, 2000, 16 << 20),
}


@dataclass(frozen=True)
class Phase:
    """From `begin` to `end`, seconds of the run, something is in this mode."""

    mode: str
    begin: float
    end: float

    def __str__(self) -> str:
        return f"{self.mode} {self.begin:.2f}–{self.end:.2f}"


@dataclass(frozen=True)
class Fault:
    """At `at`, terminal number `terminal` does this."""

    at: float
    terminal: int
    kind: str  # reset | close | vanish | deaf | damage | garbage | stall
    length: float = 0.0


@dataclass
class Schedule:
    """One run."""

    seed: int
    policy: str
    terminals: list[TerminalPlan]
    limits: dict[tuple[str, str], int]
    spool_size: int
    login_timeout: float
    idle_timeout: float
    store: list[Phase]
    disk: list[Phase]
    crashes: list[float]  # at a time
    crash_steps: list[tuple[int, str]]  # at the n-th operation of store or disk: before it, when half done, after it
    restarts: list[float]  # in an orderly way
    faults: list[Fault] = field(default_factory=list)
    calm: float = 0.0  # from here on nothing goes wrong any more

    def store_mode(self, now: float) -> Phase | None:
        return next((phase for phase in self.store if phase.begin <= now < phase.end), None)

    def disk_mode(self, now: float) -> Phase | None:
        return next((phase for phase in self.disk if phase.begin <= now < phase.end), None)

    def __str__(self) -> str:
        def told(phases: list[Phase]) -> str:
            return ", ".join(map(str, phases)) or "well"

        lines = [
            f"seed {self.seed}: policy {self.policy}, spool {self.spool_size} B, "
            f"login timeout {self.login_timeout:.0f} s, "
            f"idle timeout {self.idle_timeout:.0f} s, calm from {self.calm:.2f}",
            "  limits: " + ", ".join(f"{name} {value}" for (_, name), value in self.limits.items()),
            f"  store: {told(self.store)}",
            f"  disk: {told(self.disk)}",
            "  crashes: " + (", ".join([f"{at:.2f}" for at in self.crashes]
                                       + [f"{stage} operation {n}" for n, stage in self.crash_steps]) or "none"),
            "  restarts: " + (", ".join(f"{at:.2f}" for at in self.restarts) or "none"),
            *(f"  {plan}" for plan in self.terminals),
            *(f"  {fault.at:.2f} terminal {fault.terminal}: {fault.kind} {fault.length:.2f}" for fault in self.faults),
        ]  # fmt: skip
        return "\n".join(lines)


@dataclass(frozen=True)
class TerminalPlan:
    """One terminal: what it sends and how."""

    number: int
    protocol: str
    registered: bool  # known before the first start
    frames: int
    interval: float
    window: int
    members: int  # records in a frame, at most
    odd: float  # share of frames that cannot be decoded
    poison: float  # share of records that the store refuses
    dear: float  # share of records for which the store takes seconds
    endless: int  # the record, by its serial, for which it takes more than anybody waits; 0: none
    pings: float  # share of requests that promise nothing
    messages: float
    cut: float  # share of reads that end inside a frame
    patience: float  # s without an ack before it connects anew
    start: float


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = random.Random(f"schedule {seed}")
    uniform, pick, random_ = chance.uniform, chance.choice, chance.random
    calm = uniform(4, 30)
    policy = pick(("accept",) * 8 + ("known", "quarantine"))
    small = random_() < 0.5  # low limits
    spool_size = pick((1500, 6000, 4 << 30, 4 << 30))
    dear = spool_size > 6000  # what the store takes too long for needs the spool
    plans = [
        TerminalPlan(
            number=number,
            protocol=pick(PROTOCOLS),
            registered=random_() < 0.4,
            frames=50 if random_() < 0.1 else chance.randint(3, 16),
            interval=pick((0.0, 0.05, uniform(0.1, 1.5))),
            window=pick((1, 1, 2, 4, 12, 30)),
            members=pick((1, 1, 3, 8)),
            odd=pick((0.0, 0.0, 0.1, 0.9 if random_() < 0.3 else 0.1)),
            poison=pick((0.0, 0.0, 0.0, 0.05)),
            dear=0.05 if dear and random_() < 0.1 else 0.0,
            endless=chance.randint(1, 3) if dear and random_() < 0.08 else 0,
            pings=pick((0.0, 0.15)),
            messages=pick((0.0, 0.1)),
            cut=pick((0.0, 0.05, 0.5)),
            patience=uniform(8, 15),
            start=uniform(0, 1) if random_() < 0.8 else uniform(0, calm),
        )
        for number in range(chance.randint(1, 6))
    ]
    limits = {key: pick(values if small else values[-1:]) for key, values in LIMITS.items()}
    faults = [
        Fault(uniform(0.2, calm), chance.randrange(len(plans)), kind, uniform(0.5, 8))
        for kind in chance.choices(TERMINAL_FAULTS, k=pick((0, 2, 5, 10)))
    ]
    faults.sort(key=lambda fault: fault.at)
    return Schedule(
        seed=seed,
        policy=policy,
        terminals=plans,
        limits=limits,
        spool_size=spool_size,
        login_timeout=pick((5.0, 30.0)),
        idle_timeout=pick((12.0, 1800.0)),
        store=_phases(chance, calm, ("down", "down", "hang", "slow", "flaky", "flaky", "lost"), pick((0, 1, 1, 2, 3))),
        disk=_phases(chance, calm, ("error", "full", "slow", "stall"), pick((0, 0, 0, 1, 2))),
        crashes=sorted(uniform(0.2, calm) for _ in range(pick((0, 0, 0, 1, 2)))),
        crash_steps=[
            (chance.randint(1, 250), pick(("before", "half way through", "after"))) for _ in range(pick((0, 0, 1, 2)))
        ],
        restarts=sorted(uniform(0.2, calm) for _ in range(pick((0, 0, 0, 1)))),
        faults=faults,
        calm=calm,
    )


def _phases(chance: random.Random, calm: float, modes: tuple[str, ...], count: int) -> list[Phase]:
    """Up to `count` phases that do not overlap and end before `calm`."""
    bounds = sorted(chance.uniform(0, calm) for _ in range(2 * count))
    return [Phase(chance.choice(modes), a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
