"""What real fleets do: every number of the mixed month, each with its reason in docs/simulator.md.

Durations are seconds unless the name says otherwise; a pair is the range of an even draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
ZONE = 3 * HOUR  # local time is ahead of UTC
START = datetime(2026, 3, 2, tzinfo=UTC).timestamp() - ZONE  # a Monday, 00:00 local


@dataclass(frozen=True, slots=True)
class Facts:
    """One kind of vehicle.

    Attributes
    ----------
    share : weight in the fleet.
    moving, idling, parked : seconds between two reports.
    wakes : hours between two wake-ups of one that sleeps, drawn from these.
    sleeps : share of vehicles that go to sleep an hour after they were parked.
    switched : share whose battery is switched off after work.
    pings : share whose connection is kept by a ping while awake.
    speed : m/s on the move.
    line : km of the road that it goes to and fro on.
    volts : 12 V or 24 V on board, share of the latter.
    """

    share: float
    moving: float
    idling: float
    parked: float
    wakes: tuple[int, ...]
    sleeps: float
    switched: float
    pings: float
    speed: float
    line: tuple[float, float]
    volts: float


KINDS = {
    "van": Facts(0.28, 30, 300, HOUR, (6, 12, 24), 0.75, 0.0, 0.45, 9, (8, 20), 0.0),
    "long-haul": Facts(0.20, 60, 300, HOUR, (6, 12), 0.4, 0.0, 0.45, 21, (300, 900), 1.0),
    "excavator": Facts(0.15, 60, 300, HOUR, (12, 24), 0.3, 0.75, 0.3, 1.5, (0.5, 2), 1.0),
    "tractor": Facts(0.08, 60, 300, HOUR, (24,), 1.0, 0.5, 0.3, 3, (2, 8), 0.5),
    "trailer": Facts(0.13, 12 * HOUR, 12 * HOUR, 12 * HOUR, (12, 24), 1.0, 0.0, 0.0, 21, (300, 900), 0.0),
    "bus": Facts(0.07, 20, 30, HOUR, (6,), 0.0, 0.5, 0.45, 8, (8, 20), 1.0),
    "taxi": Facts(0.09, 20, 120, HOUR, (6, 12), 0.5, 0.0, 0.45, 9, (8, 20), 0.0),
}
PERIODS = (0.75, 1.0, 1.0, 1.5)  # fitters' habits: a vehicle's periods times one of these
JITTER = 0.02  # of a period

UNWIRED = (0.1, 0.3)  # share of vehicles without ignition, drawn once a fleet
PING = 300.0
LATE = 0.004  # share of frames that wait for a new session, and how long
LATE_BY = (15.0, 150.0)
LATENCY = (0.3, 2.0)
RETRY = (5.0, 60.0)  # until a terminal that is awake has a session again
MISSED_WAKE = 0.03
BURST_FRAME = 20  # records in a frame of the black box
BURST_STEP = 0.4  # s between two of them
IDLE_TIMEOUT = 1800.0  # s until the gateway gives a dead connection up
SLEEP_AFTER = 3600.0
NO_LAST_WORD = 1 / 3  # of the excavators whose battery is switched off
UNDERGROUND = 0.12  # of vans and taxis spend their nights in a garage without coverage
DRIFTS = 0.03  # of the terminals' clocks
DRIFT = 60.0  # s a day

ROADS = 8
HOLE_EVERY = 220.0  # km of a road, on average
HOLE = (5 * MINUTE, 90 * MINUTE)  # at a lorry's speed; even in the logarithm
HOLE_HIT = 0.85  # share of passes on which it is met
HOLE_SHARED = 0.6  # of an operator's holes are those of the others too
OUT_OF_TOWN = 0.25  # of the vans
TOWN_HOLES = (1, 3)  # on their road, km long:
TOWN_HOLE_KM = (3.0, 10.0)
QUARRIES = 0.3  # of the sites of excavators
QUARRY_HOLE_EVERY = 30 * HOUR  # on average, a vehicle
QUARRY_HOLE = (8 * MINUTE, 75 * MINUTE)

CUSTOMER_VEHICLES = 25
OPERATORS = ("north", "volga", "steppe")
OWN_OPERATOR = 0.7  # of a customer's SIM cards are of its usual operator
ROAMS = 0.03  # of SIM cards take another network in an outage

HOLIDAY = (18 * HOUR, 88 * HOUR)  # begins on a Friday at 18:00, and how long
# Of a terminal in thirty days:
VACATION = 0.07
VACATION_LENGTH = (18 * DAY, 23 * DAY)
VACATION_OFF = 0.5  # with the battery off
WORKSHOP = 0.10
WORKSHOP_STAY = (2 * HOUR, 9 * HOUR)
RECONFIGURED = 0.06
RECONFIGURED_BY = (2.0, 4.0)
SOLD = 0.02
FAULTY = 0.10

OUTAGE_EVERY = 7.5  # days, of one operator
OUTAGE = (20 * MINUTE, 4 * HOUR)  # even in the logarithm
FIREWALL = (45 * MINUTE, 2 * HOUR)
DEAF = 45 * MINUTE
RESTART = (20.0, 90.0)

REPAIRED = 0.6  # of the faults that can be, after
REPAIR = (1 * DAY, 8 * DAY)
IN_USE = 0.5  # of the faults begin while the vehicle is used
HEARD_AGAIN_EVERY = 9 * HOUR  # of a terminal whose antenna is cut
HEARD_AGAIN = (1 * MINUTE, 4 * MINUTE)
# cause -> zone, weight, whether it can be repaired
CAUSES = {
    "power": ("wiring-power", 0.27, True),
    "sim": ("sim-operator", 0.19, True),
    "antenna": ("terminal", 0.13, True),
    "dead": ("terminal", 0.17, True),
    "removed": ("wiring-power", 0.09, False),
    "moved": ("terminal", 0.08, False),
    "path": ("network-path", 0.07, True),
}

# What faults show of themselves, and healthy terminals now and then.
LAST_WORD = 0.8  # of lost power is told on the own battery
LAST_WORD_ASLEEP = 0.5  # of those asleep: the next wake-up tells it
LAST_WORDS = (1, 4)  # records of an awake one, in the
BEHIND = (2 * MINUTE, 10 * MINUTE)  # before the end
CHAFED = 0.3  # of lost power came and went before
DYING = {"restarts": 0.3, "damage": 0.25, "battery": 0.1}  # of terminals before they are dead; the others at once
MUTTERS = 0.4  # of those that send damaged frames come back with nothing else
CORRODES = 0.6  # of antennas, the others are cut at once
HALF_HEARD = 0.3  # of cut antennas let a connection through now and then, and no data
OPENED = 0.5  # of removed terminals that know of their case
GOODBYE = 0.7  # of terminals moved to another server end their connection with us
REBOOTS = 0.5  # of these tell the restart that the new settings need
CONNECTS = 0.75  # of broken paths let small packets through
ATTEMPT_EVERY = 2 * MINUTE  # at the most often
STRAY = 0.04  # of faults: somebody tries a connection from there all the same
SPELL = (1 * HOUR, 24 * HOUR)  # how long something shows before the end
RESTARTS = (3, 12)  # in one such spell
NET_RESET, RESET = 0.2, 0.06  # connections that end with a reset: by a blocked card's network; any other

HEALTHY = {"sag": 0.06, "restarts": 0.04, "damage": 0.03, "fade": 0.15, "battery": 0.02}  # spells in thirty days
BUGGY, BUGGY_FRAMES = 0.03, 0.15  # of the terminals now and then damage a frame, and in which part of connections
NOISE = 0.002  # of the other connections have a damaged frame
POOR = 0.08  # of the terminals sit behind metal
EDGE = 0.6  # of the holes are told by a falling signal
IN_HOLE = 0.7  # of the records made in one tell a weak signal
SHORT_LINK = 0.2  # of the terminals end their connection after each report at rest
SWITCH_TELLS = 0.4  # of switched-off vehicles: the switch is turned with the ignition, and told
CASE_OPENED = 0.03  # in thirty days, by a workshop
WEAK = 20.0  # percent
EMPTY = (3.1, 3.45)  # V of an own battery that dies
