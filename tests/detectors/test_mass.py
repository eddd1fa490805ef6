"""Who falls silent together: one group for one cause, the right one, in time; and nothing where nothing is."""

import time

import numpy as np
import pytest

from detectors.groups import MOST, NONE, Groups, address_ranges
from detectors.mass import MASS, OUTAGE, PLATFORM, RECONNECT, MassRule, MassSilence, Silent
from detectors.suspicion import divergence, together
from detectors.usual import Usual
from tests.detectors.silent_fleet import HOUR, START, SilentFleet

INTERVALS = (20.0, 30.0, 60.0, 300.0, 3600.0, 12 * HOUR)
SHARES = (0.1, 0.3, 0.1, 0.2, 0.2, 0.1)


def mixed(n=600, seed=1, **options):
    """Three operators, three ports, four regions … that have nothing to do with one another."""
    dice = np.random.default_rng(seed)

    def of(values, **how):
        return np.array(values)[dice.choice(len(values), n, **how)]

    operator = of(["A", "B", "C"])
    told = {
        "operator": operator,
        "address": np.array([f"10.{ord(name)}.{dice.integers(4)}.0/24" for name in operator]),
        "network": np.array([f"10.{ord(name)}.0.0/16" for name in operator]),
        "region": of(["north", "east", "south", "west"]),
        "model": of(["FMB920", "FMC130"]),
        "customer": of([f"customer {k}" for k in range(12)]),
        "site": of([f"site {k}" for k in range(30)]),
        "port": of(["teltonika:5027", "omnicomm:9977", "wialon-ips:20332"], p=[0.5, 0.3, 0.2]),
    }
    interval = dice.choice(INTERVALS, n, p=SHARES)
    return SilentFleet(interval, {name: its.tolist() for name, its in told.items()}, seed=seed, **options), told


def names(fleet):
    return [(group.kind, group.by, group.value) for _, group, _ in fleet.opened]


@pytest.mark.parametrize("seed", range(4))
def test_one_operator_s_outage_is_one_group_of_its_terminals_within_three_minutes(seed):
    fleet, told = mixed(seed=seed)
    fleet.run(1800)
    assert fleet.opened == []
    lost = told["operator"] == "A"
    begun = fleet.clock - START
    fleet.silence(lost).run(2400)
    assert names(fleet) == [(MASS, "operator", "A")]
    at, group, first = fleet.opened[0]
    assert at - begun <= 180
    assert len(first) >= 30
    members = np.concatenate([first, *(rows for _, _, rows in fleet.joined)])
    assert lost[members].all()
    assert len(members) == len(set(members.tolist())) == len(group.rows) == fleet.stage.members
    assert set(np.flatnonzero(lost & (fleet.interval <= 300))) <= set(
        members.tolist()
    )  # all that had time to be missed
    assert abs(group.since - (START + begun)) < 60
    numbers = group.numbers
    assert (numbers["by"], numbers["share"] > 0.9, numbers["score"] > numbers["needed"]) == ("operator", True, True)
    assert numbers["explanations"][0].items() <= numbers.items()
    # Given back when it is heard again: who is out then is on its own.
    fleet.wake(lost).run(120)
    assert [over.group.key for _, over in fleet.over] == [group.key]
    assert sorted([*fleet.over[0][1].back, *fleet.over[0][1].out]) == sorted(group.rows)
    assert fleet.stage.silent == {}
    fleet.run(3600)
    assert len(fleet.opened) == 1


@pytest.mark.parametrize(
    ("lost", "expected"),
    [
        ({"port": "omnicomm:9977"}, (PLATFORM, "listener", "omnicomm:9977")),
        ({"customer": "customer 3"}, (MASS, "customer", "customer 3")),
        ({"region": "west"}, (MASS, "region", "west")),
        ({"network": "10.66.0.0/16"}, (MASS, "operator", "B")),  # which is as good an explanation, and the nearer one
        ({"address": "10.66.1.0/24"}, (MASS, "address", "10.66.1.0/24")),
        ({}, (PLATFORM, "fleet", "all")),
    ],
)
def test_each_cause_is_called_by_its_name(lost, expected):
    fleet, told = mixed(seed=7)
    fleet.run(1200)
    chosen = np.ones(fleet.n, bool)
    for name, value in lost.items():
        chosen &= told[name] == value
    fleet.silence(chosen).run(900)
    assert names(fleet) == [expected]
    assert fleet.stage.doubts == (expected[0] == PLATFORM)
    assert chosen[fleet.opened[0][1].rows].all()


def test_of_explanations_almost_as_good_the_nearer_cause_is_taken():
    """One of its terminals is heard, by another way: the address range alone would explain a little better."""
    told = {"operator": ["A"] * 41 + ["B"] * 40, "network": ["10.0.0.0/16"] * 40 + ["10.9.0.0/16"] * 41}
    fleet = SilentFleet([20.0] * 81, told)
    fleet.run(1200).silence(np.arange(81) < 40).run(600)
    assert names(fleet) == [(MASS, "operator", "A")]
    first, second, *_ = fleet.opened[0][1].numbers["explanations"]
    assert (first["by"], second["by"]) == ("address", "operator")


@pytest.mark.parametrize("kind", ["model", "firmware"])
@pytest.mark.parametrize(
    ("heard", "expected"), [(0, (PLATFORM, "listener", "omnicomm:9977")), (2, (MASS, "{kind}", "FAS"))]
)
def test_a_port_that_one_kind_alone_uses_is_closed_before_all_of_a_kind_are_broken(kind, heard, expected):
    """Others that are heard by the same port say that it is open."""
    told = {kind: ["FAS"] * 40 + ["FMB"] * 40 + ["other"] * heard}
    told |= {"port": ["omnicomm:9977"] * 40 + ["teltonika:5027"] * 40 + ["omnicomm:9977"] * heard}
    fleet = SilentFleet([20.0] * (80 + heard), told)
    fleet.run(1200).silence(np.arange(80 + heard) < 40).run(600)
    assert names(fleet) == [(expected[0], expected[1].format(kind=kind), expected[2])]


def test_two_causes_at_once_are_two_groups():
    fleet, told = mixed(seed=3)
    fleet.run(1200)
    fleet.silence((told["operator"] == "A") | (told["customer"] == "customer 5")).run(600)
    assert sorted(names(fleet)) == [(MASS, "customer", "customer 5"), (MASS, "operator", "A")]
    rows = [set(group.rows.tolist()) for _, group, _ in fleet.opened]
    assert rows[0].isdisjoint(rows[1])


def test_a_part_of_an_operator_is_that_operator_s_too():
    fleet, told = mixed(seed=4)
    fleet.run(1200)
    fleet.silence((told["operator"] == "C") & (np.arange(fleet.n) % 2 == 0)).run(600)
    assert names(fleet) == [(MASS, "operator", "C")]
    assert 0.3 < fleet.opened[0][1].share < 0.7


def test_silence_together_that_nothing_explains_is_one_group_all_the_same():
    fleet, _ = mixed(seed=5)
    fleet.run(1200)
    lost = np.arange(fleet.n) % 3 == 0
    fleet.silence(lost).run(600)
    assert names(fleet) == [(MASS, "fleet", "all")]
    assert not fleet.stage.doubts
    assert lost[fleet.opened[0][1].rows].all()


def test_what_people_do_not_know_is_no_group():
    fleet = SilentFleet([20.0] * 40, {"customer": ["ours"] * 8 + [None] * 32})
    fleet.run(600).silence(np.arange(40) < 8).run(600)
    assert names(fleet) == [(MASS, "customer", "ours")]


@pytest.mark.parametrize(("lost", "found"), [(4, False), (5, True)])
def test_fewer_than_the_least_number_are_no_group(lost, found):
    fleet = SilentFleet([20.0] * 60, {"site": ["yard"] * 5 + ["elsewhere"] * 55})
    fleet.run(3000).silence(np.arange(60) < lost).run(600)
    assert bool(fleet.opened) == found


def test_a_smaller_part_than_the_least_share_is_no_group():
    rule = MassRule(share=0.5)
    fleet = SilentFleet([20.0] * 100, {"operator": ["A"] * 60 + ["B"] * 40}, rule=rule)
    fleet.run(1800).silence(np.arange(100) < 24).run(900)
    assert fleet.opened == []
    fleet.silence((np.arange(100) >= 24) & (np.arange(100) < 50)).run(600)
    assert names(fleet) == [(MASS, "operator", "A")]


def test_nobody_s_own_ticket_is_delayed_but_those_of_who_may_be_in_it():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    fleet.run(600)
    waits = fleet.stage.waits
    assert waits(3, fleet.clock, fleet.heard[3]) is None
    fleet.silence(np.arange(60) < 20)
    waited = []
    while not fleet.opened:
        fleet.run(1)
        waited.append((waits(3, fleet.clock, fleet.heard[3]), waits(50, fleet.clock, fleet.heard[50])))
    assert waited[-2][0] == "forming"
    assert sum(one == "forming" for one, _ in waited) in range(55, 62)  # `settle`
    assert waits(3, fleet.clock, fleet.heard[3]) is None  # and the group has it
    assert waits(99, fleet.clock, np.nan) is None  # of whom nothing is known
    assert fleet.stage.group_of(3, fleet.heard[3]) is fleet.opened[0][1]
    assert fleet.stage.group_of(50, fleet.heard[50]) is None
    # Silent since some minutes before, it cannot have come back; since long before, that is its own.
    fleet.stage.expect(np.array([4]), np.array([fleet.clock - 500.0]), np.array([fleet.clock - 480.0]))
    assert fleet.stage.group_of(4, fleet.clock - 500.0) is fleet.opened[0][1]
    fleet.stage.expect(np.array([4]), np.array([START - 9000.0]), np.array([START - 8000.0]))
    assert fleet.stage.group_of(4, START - 9000.0) is None


def test_a_yard_that_goes_to_sleep_each_evening_is_no_outage_once_that_is_known():
    """Its terminals say nothing of it: at six they fall silent one by one, and come back in the morning."""
    n = 60
    yard = np.arange(n) < 30
    fleet = SilentFleet([30.0] * n, {"site": ["yard" if one else "road" for one in yard]}, step=15.0)
    found = []
    for _ in range(4):
        before = len(fleet.opened)
        fleet.run(24 * HOUR - (fleet.clock - 18 * HOUR) % (24 * HOUR))
        for place in np.flatnonzero(yard):
            fleet.silence(place).run(15)
        fleet.run(2 * HOUR)
        found.append(names(fleet)[before:])
        fleet.wake(yard).run(HOUR)
    assert found == [[(MASS, "site", "yard")], [], [], []]
    # An outage at another hour is found all the same, and the other site's at that hour.
    fleet.run(24 * HOUR - (fleet.clock - 10 * HOUR) % (24 * HOUR))
    before = len(fleet.opened)
    fleet.silence(yard).run(600)
    assert names(fleet)[before:] == [(MASS, "site", "yard")]


def test_a_group_whose_terminals_have_gone_to_sleep_meanwhile_is_over_by_what_is_usual_at_that_hour():
    n = 80
    fleet = SilentFleet([30.0] * n, {"operator": ["A"] * 40 + ["B"] * 40}, step=10.0)
    first = np.arange(n) < 40
    night = np.arange(n) < 32
    for _ in range(2):  # two days: from eighteen to twenty most of the first sleep, and it is told when they do
        fleet.run(24 * HOUR - (fleet.clock - 18 * HOUR) % (24 * HOUR))
        rows = np.flatnonzero(night)
        fleet.stage.expect(rows, fleet.heard[rows], np.full(len(rows), np.nan))
        fleet.silence(night).run(2 * HOUR)
        fleet.wake(night).run(600)
    assert fleet.opened == []
    fleet.run(24 * HOUR - (fleet.clock - 17.5 * HOUR) % (24 * HOUR))
    fleet.silence(first).run(HOUR)
    assert names(fleet) == [(MASS, "operator", "A")]
    fleet.wake(first & ~night).run(120)  # the operator is back; six are awake
    assert len(fleet.over) == 1
    assert set(np.flatnonzero(night)) <= set(fleet.over[0][1].out)


def test_a_member_that_is_heard_and_goes_again_is_counted_once():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    fleet.run(600).silence(np.arange(60) < 20).run(180)
    (_, group, _) = fleet.opened[0]
    fleet.wake(np.arange(60) == 3, within=5).run(30)
    fleet.silence(np.arange(60) == 3).run(120)
    assert (len(group.rows), len(set(group.rows.tolist()))) == (20, 20)
    assert [rows.tolist() for _, _, rows in fleet.joined] == [[3]]
    assert group.heard[list(group.rows).index(3)] == fleet.heard[3]


def test_who_was_late_before_the_outage_is_no_member_of_it():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    fleet.run(600).silence(np.arange(60) == 0).run(120)
    fleet.silence(np.arange(60) < 20).run(600)
    (_, group, _) = fleet.opened[0]
    assert sorted(group.rows) == list(range(1, 20))
    assert fleet.joined == []


def test_a_group_that_falls_silent_again_opens_again():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    lost = np.arange(60) < 20
    fleet.run(600).silence(lost).run(300).wake(lost).run(300).silence(lost).run(300)
    assert names(fleet) == [(MASS, "operator", "A")] * 2
    assert len(fleet.over) == 1


def test_switched_off_it_gives_everybody_back():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    fleet.run(600).silence(np.arange(60) < 20).run(180)
    fleet.stage.rule = MassRule(enabled=False)
    fleet.run(5)
    assert [len(over.out) for _, over in fleet.over] == [20]
    fleet.run(300)
    assert len(fleet.opened) == 1


@pytest.mark.parametrize(("away", "incidents"), [(30.0, 0), (120.0, 0), (OUTAGE, 1), (2700.0, 1)])
def test_when_we_were_away_terminals_have_their_time_to_come_back(away, incidents):
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    fleet.run(600)
    everybody = np.ones(60, bool)
    # The listened clock stood still; they come back one after the other.
    fleet.stage.returned(fleet.clock, away)
    if away >= 60:
        assert fleet.stage.waits(3, fleet.clock, fleet.heard[3]) == "reconnecting"
        assert fleet.stage.waits(3, fleet.clock, fleet.clock + 0.1) is None  # back already
    grace = min(away, RECONNECT) if away >= 60 else 0.0
    fleet.silence(everybody).wake(everybody, within=max(grace, 20)).run(grace + 400)
    assert [group.by for _, group, _ in fleet.opened] == ["gateway"] * incidents
    assert [group.kind for _, group, _ in fleet.opened] == [PLATFORM] * incidents
    assert len(fleet.over) == incidents
    assert not fleet.stage.doubts
    assert fleet.stage.waits(3, fleet.clock, fleet.heard[3]) is None
    # Some are late even then: they were given that time from where they stood.
    fleet.stage.rule = MassRule(settle=0.0)
    fleet.stage.returned(fleet.clock, away)
    before = len(fleet.opened)
    fleet.silence(everybody).wake(everybody, within=grace + 40).run(grace + 100)
    assert [group.by for _, group, _ in fleet.opened[before:]] == ["gateway"] * incidents
    fleet.stage.rule = MassRule()
    incidents *= 2
    # Who does not come back is missed then.
    fleet.silence(np.arange(60) < 20).run(300)
    assert names(fleet)[incidents:] == [(MASS, "operator", "A")]


def test_a_group_is_known_after_a_restart():
    fleet = SilentFleet([20.0] * 60, {"operator": ["A"] * 20 + ["B"] * 40})
    lost = np.arange(60) < 20
    fleet.run(600).silence(lost).run(300)
    (_, group, _) = fleet.opened[0]
    fresh = SilentFleet(fleet.interval, {"operator": ["A"] * 20 + ["B"] * 40})
    fresh.__dict__ |= {name: getattr(fleet, name) for name in ("clock", "next", "heard", "dark", "taken")}
    rows = np.arange(60)
    fresh.stage.expect(rows, fresh.heard, fresh.heard + fresh.interval)
    fresh.stage.resume(Silent(0, MASS, "operator", "A", group.since, rows=group.rows, heard=group.heard))
    assert fresh.stage.members == 20
    fresh.run(300)
    assert (fresh.opened, fresh.over) == ([], [])
    fresh.wake(lost).run(60)
    assert len(fresh.over) == 1


def test_a_hundred_thousand_and_thirty_in_a_hundred_gone_is_one_group_in_no_time():
    n = 100_000
    dice = np.random.default_rng(2)
    interval = dice.choice([30.0, 60.0, 300.0], n)
    lost = np.arange(n) % 10 < 3
    told = {
        "operator": ["A" if one else "B" for one in lost],
        "region": dice.choice(list("nesw"), n).tolist(),
        "customer": dice.integers(0, 300, n).astype(str).tolist(),
    }
    fleet = SilentFleet(interval, told, step=5.0)
    fleet.run(400).silence(lost)
    spent = 0.0
    for _ in range(60):
        fleet.clock += 5
        fleet.report(np.flatnonzero((fleet.next <= fleet.clock) & ~fleet.dark))
        begun = time.process_time()
        fleet.look()
        spent += time.process_time() - begun
    assert names(fleet) == [(MASS, "operator", "A")]
    assert lost[fleet.opened[0][1].rows].all()
    assert spent < 5


def test_groups_are_bounded_and_named():
    groups = Groups()
    groups.place(range(MOST + 10), {"operator": [f"o{n}" for n in range(MOST + 10)]})
    assert groups.of(MOST + 5) == [groups.find("fleet", "all")]
    assert groups.name(groups.find("operator", "o7")) == ("operator", "o7")
    groups.place([7], {"operator": [None], "port": ["teltonika:5027"], "protocol": ["teltonika"]})
    assert groups.count(np.array([7]))[groups.find("operator", "o7")] == 0
    assert groups.name(groups.find("listener", "teltonika:5027")) == ("listener", "teltonika:5027")
    assert groups.find("listener", "teltonika:5027") != groups.find("protocol", "teltonika")
    assert groups.find("listener", "new") not in (NONE, groups.find("listener", "teltonika:5027"))
    groups.place([8], {"network": ["10.0.0.0/16"]})
    assert groups.count(np.array([8]))[groups.find("address", "10.0.0.0/16")] == 1
    assert groups.of(10_000_000) == []


@pytest.mark.parametrize(
    ("address", "ranges"),
    [
        ("192.0.2.77", ("192.0.2.0/24", "192.0.0.0/16")),
        ("[2001:db8:7:9::1]", ("2001:db8:7::/48", "2001:db8::/32")),
        ("::1", ("::/48", "::/32")),
        ("", (None, None)),
        ("1.2.3", (None, None)),
        ("a.b.c.d", (None, None)),
        ("%s'; --", (None, None)),
    ],
)
def test_the_range_of_an_address(address, ranges):
    assert address_ranges(address) == ranges


def test_what_is_usual_is_kept_by_name_and_refused_if_it_is_no_such_thing():
    groups, usual = Groups(), Usual()
    groups.place(range(20), {"operator": ["A"] * 20})
    for _ in range(40):
        usual.learn(np.array([0, 2, 10]), np.array([0, 18, 10]), 5 * HOUR, 5, np.ones(3, bool))
    assert usual.shares(3, 5)[2] == pytest.approx(0.49, abs=0.03)
    assert usual.shares(3, 6)[2] == pytest.approx(0.2)
    assert usual.alive(2, 5) == pytest.approx(10)
    assert usual.alive(2, 6) == usual.alive(99, 5) == np.inf
    other, fresh = Groups(), Usual()
    other.place([0, 1], {"region": ["r", "s"]})  # numbered otherwise there
    fresh.load(usual.dump(groups.name), other.find)
    found = other.find("operator", "A")
    assert fresh.shares(len(other), 5)[found] == pytest.approx(usual.shares(3, 5)[2])
    for data in (b"", b"PK\x03\x04", usual.dump(groups.name)[:-30]):
        with pytest.raises(ValueError, match="not what was kept"):
            fresh.load(data, other.find)
    assert fresh.alive(found, 5) == pytest.approx(10)


def test_the_two_formulas():
    assert divergence(np.array([0.0, 1.0, 0.5]), np.array([0.5, 0.25, 0.5])) == pytest.approx([0.693147, 1.386294, 0])
    since, whom = together(np.array([10.0, 50.0, 55.0, 58.0]), np.array([40.0, 100.0, 100.0, 100.0]))
    assert (since, whom.tolist()) == (58.0, [False, True, True, True])


def test_a_stage_that_knows_nobody_says_nothing():
    stage = MassSilence()
    decided = stage.judge(5.0, 5.0, np.zeros(0), np.zeros(0, bool))
    assert (decided.opened, decided.joined, decided.over) == ([], [], [])
    stage.returned(5.0, 9000.0)
    assert stage.judge(6.0, 6.0, np.zeros(0), np.zeros(0, bool)).opened == []
