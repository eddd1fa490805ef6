"""Each kind of detector in virtual time: what makes a finding, what does not, and what its words say."""

import numpy as np
import pytest

from detectors.backlog import Backlog
from detectors.clock import Clock
from detectors.columns import NEVER
from detectors.detector import Past, switched_off
from detectors.fuel import FuelSensor
from detectors.gnss import Gnss
from detectors.identity import Identity
from detectors.modem import Modem
from detectors.power import Power
from detectors.restarts import Restarts
from gateway.watch.columns import plain
from protocols.records import ARCHIVE, MOVING, VALID
from tests.detectors.driving import DRIVES, OFF, ON, Drive

KINDS = [Power, Gnss, Clock, FuelSensor, Modem, Restarts, Backlog, Identity]
WEEKS_1024 = 1024 * 7 * 86_400
NONE = Past(lambda _: np.zeros(0), np.zeros(0, np.int64))


def zone(drive, past=NONE):
    return drive.fleet.detectors[drive.kind].zone(drive.explain(), past)[0]


# -- power


def test_power_gone_with_the_ignition_on_is_a_fault_of_the_wiring():
    drive = Drive(Power()).times(5, power__external=13.9, power__battery=4.1)
    drive.times(8, power__external=0.1, power__battery=4.0)
    assert drive.seen[5:] == ["good", "suspect", "suspect", "suspect", "suspect", "fail", "fail", "fail"]
    assert "external power is gone (0.1 V, usually 13.9 V)" in drive.explain().reason
    assert zone(drive) == "wiring-power"
    assert drive.times(2, power__external=13.8).seen[-2:] == ["fail", "good"]


def test_power_gone_with_the_ignition_off_is_a_switch():
    drive = Drive(Power()).times(5, power__external=13.9)
    assert set(drive.times(50, flags=OFF, power__external=0.0, power__battery=4.0).seen) == {"good"}
    assert "a battery switch, no fault" in drive.explain().reason


@pytest.mark.parametrize(("usual", "low", "fine"), [(13.8, 11.0, 12.1), (27.9, 22.0, 24.1)])
def test_low_power_is_measured_by_the_net_it_is(usual, low, fine):
    drive = Drive(Power()).times(20, power__external=usual)
    assert drive.times(10, power__external=fine).seen[-1] == "good"
    assert drive.times(10, power__external=low).seen[-1] == "fail"
    assert f"external power {low:g} V is below" in drive.explain().reason


def test_a_trailer_on_its_own_battery_has_no_net_that_could_be_low():
    assert set(Drive(Power()).times(60, 43_200, flags=VALID, power__external=3.9).seen[2:]) == {"good"}


def test_a_battery_that_holds_no_charge_is_the_terminals():
    drive = Drive(Power()).times(10, power__external=13.8, power__battery=3.1)
    assert drive.seen[-1] == "fail"
    assert zone(drive) == "terminal"


def test_the_terminals_own_word_that_it_runs_on_its_battery_counts():
    assert Drive(Power()).times(10, power__backup=1.0).seen[-1] == "fail"


def test_cranking_and_old_records_say_nothing():
    drive = Drive(Power()).times(5, power__external=13.8)
    for _ in range(20):
        drive.contact(power__external=7.0).contact(power__external=13.8)
    assert set(drive.seen) == {"good"}
    assert drive.times(20, ahead=-7200, power__external=0.0).seen[-1] == "good"


# -- gnss


def test_moving_without_a_position_is_the_antenna():
    drive = Drive(Gnss()).times(5, satellites=9)
    drive.times(15, flags=ON | MOVING, satellites=0)
    assert set(drive.seen[6:]) == {"suspect"}
    assert drive.contact(flags=ON | MOVING, satellites=0).seen[-1] == "fail"
    assert "moves without a valid position (0 satellites)" in drive.explain().reason
    assert zone(drive) == "gnss-antenna"
    assert drive.times(2, satellites=8).seen[-1] == "good"


def test_a_garage_is_no_fault():
    drive = Drive(Gnss()).times(5, satellites=9)
    assert set(drive.times(200, 600, flags=OFF, satellites=0).seen) == {"good"}  # parked
    assert set(drive.times(50, 60, flags=OFF | MOVING, satellites=0).seen) == {"good"}  # on a ferry, or towed
    drive.times(23, 600, flags=ON, satellites=0)  # ignition on: hours
    assert drive.seen[-1] == "suspect"
    assert drive.times(3, 600, flags=ON, satellites=0).seen[-1] == "fail"


def test_jamming_is_told_as_such():
    drive = Drive(Gnss()).times(20, flags=ON | MOVING, gnss__jamming=1.0)
    assert drive.seen[-1] == "fail"
    assert "satellite jamming" in drive.explain().reason
    assert zone(drive) == "client-side"


def test_the_vehicles_own_speed_tells_that_it_moves():
    assert Drive(Gnss()).times(20, flags=ON, speed__sensor=60.0).seen[-1] == "fail"


# -- clock


@pytest.mark.parametrize("ahead", [-WEEKS_1024, 3 * 3600, 600], ids=["1024 weeks", "3 h ahead", "10 min ahead"])
def test_a_clock_that_is_off_by_a_constant_fails_and_recovers(ahead):
    drive = Drive(Clock()).times(7, 1, ahead=ahead)
    assert drive.seen[-1] == "fail"
    assert zone(drive) == "terminal"
    assert drive.wait(14).times(22, 1, ahead=ahead).seen[-1] == "fail"
    drive.wait(700)
    assert drive.verdict() == "fail"  # nothing was heard
    assert drive.contact().wait(3).verdict() == "good"


def test_the_rollover_is_named():
    assert "1024 weeks" in Drive(Clock()).times(7, ahead=-WEEKS_1024).explain().reason
    assert "3 h ahead" in Drive(Clock()).times(7, ahead=3 * 3600).explain().reason


def test_a_constant_of_the_past_must_last_and_an_upload_is_none():
    drive = Drive(Clock()).times(29, ahead=-7200)
    assert drive.seen[-1] == "suspect"
    assert drive.times(3, ahead=-7200).seen[-1] == "fail"
    upload = Drive(Clock())
    for second in range(600):
        upload.contact(1, ahead=-36_000 + 30 * second)
    assert "fail" not in upload.seen
    assert set(Drive(Clock()).times(50, flags=DRIVES | ARCHIVE, ahead=-7200).seen) == {"unknown"}  # it says so itself


def test_records_of_now_between_show_that_the_clock_is_right():
    drive = Drive(Clock())
    for _ in range(60):
        drive.contact(ahead=-7200).contact(5)
    for _ in range(60):
        drive.contact(ahead=3 * 3600).contact(5)
    assert set(drive.seen[5:]) == {"good"}


def test_a_clock_that_jumps_about():
    drive = Drive(Clock()).times(3)
    for hours in (3, 30, 300, 3, 40, 9):
        drive.contact(ahead=hours * 3600)
    assert drive.seen[-1] == "fail"
    assert "clock jumps" in drive.explain().reason


def test_a_steady_constant_is_told_to_who_asks():
    drive = Drive(Clock())

    def steady():
        return int(drive.fleet.detectors["clock"].steady(drive.fleet.view("clock"), np.array([1]))[0])

    drive.times(2, 1, ahead=3 * 3600)
    assert steady() == NEVER
    began = drive.now - 1
    drive.contact(1, ahead=3 * 3600 + 20)
    assert steady() == round(began * 1e6)
    drive.contact(1, ahead=5 * 3600)
    assert steady() == NEVER
    drive.times(5, 1, ahead=5 * 3600)
    assert steady() != NEVER
    drive.contact(1)
    assert steady() == NEVER


# -- fuel sensors


def test_a_sensor_that_does_not_answer_is_named():
    drive = Drive(FuelSensor())
    for turn in range(10):
        drive.contact(fuel__level__1=2000.0 + turn % 3 * 20, fuel__level__2=1500.0 - turn)
    for turn in range(12):
        drive.contact(fuel__level__1=1990.0 + turn % 3 * 20, fuel__status__2=3.0)
    assert (drive.seen[9], drive.seen[-1]) == ("good", "fail")
    told = drive.explain()
    assert told.reason.startswith("sensor 2: error status 3, 12 contacts in a row")
    assert (told.numbers["sick"], told.numbers["bus"]) == ("2", 0)
    assert (told.numbers["sensor_1_verdict"], told.numbers["sensor_1_level"]) == ("good", 2030)
    assert zone(drive) == "sensor"
    assert drive.times(2, fuel__level__1=2000.0, fuel__level__2=1480.0).seen[-2:] == ["fail", "good"]


def test_all_sensors_at_once_are_the_bus():
    drive = Drive(FuelSensor()).times(5, fuel__level__1=2000.0, fuel__level__2=1500.0)
    drive.times(12, param__lls1=65_530.0, fuel__level__2=-2.0)
    assert drive.explain().reason.startswith("all 2 sensors give errors at once")
    assert zone(drive) == "wiring-power"


@pytest.mark.parametrize("level", [4500.0, 6500.0, 61_000.0])
def test_a_level_above_the_range(level):
    drive = Drive(FuelSensor()).times(12, fuel__level__1=level)
    assert drive.seen[-1] == "fail"
    assert f"level {level:.0f} is above its range" in drive.explain().reason


def test_a_level_that_stands_still_while_driving_and_not_while_parked():
    drive = Drive(FuelSensor()).contact(fuel__level__1=3000.0)
    drive.times(119, fuel__level__1=2500.0)
    assert drive.seen[-1] == "good"
    assert drive.times(20, fuel__level__1=2500.0).seen[-1] == "fail"
    assert "level 2500 did not change" in drive.explain().reason
    full = Drive(FuelSensor()).times(200, fuel__level__1=4000.0)
    assert set(full.seen) == {"good"}  # it may be above what the sensor reaches
    assert full.times(60, fuel__level__1=4000.0).seen[-1] == "fail"
    parked = Drive(FuelSensor()).contact(fuel__level__1=3000.0).times(500, 60, flags=OFF, fuel__level__1=2500.0)
    assert set(parked.seen) == {"good"}


def test_noise_is_leaps_up_and_down_and_no_refuelling():
    drive = Drive(FuelSensor())
    for turn in range(30):
        drive.contact(fuel__level__1=2000.0 + 900 * (turn % 2))
    assert drive.seen[-1] == "fail"
    assert "leaps up and down" in drive.explain().reason
    tank = Drive(FuelSensor())
    for turn in range(60):
        tank.contact(fuel__level__1=3000.0 - turn % 20 * 100)  # burnt, and refuelled, again and again
    assert set(tank.seen) == {"good"}


# -- modem


def test_pings_of_who_is_awake_are_half_a_link():
    drive = Drive(Modem()).times(3, gsm__signal=60.0)
    drive.times(15, 120, record=False)
    assert drive.seen[-1] == "suspect"
    assert drive.times(2, 120, record=False).seen[-1] == "fail"
    assert "pings without a record" in drive.explain().reason
    assert zone(drive) == "terminal"
    assert drive.times(2).seen[-1] == "good"
    parked = Drive(Modem()).contact(flags=OFF)
    assert set(parked.times(500, 300, record=False).seen) == {"good"}


def test_the_same_record_again_and_again():
    drive = Drive(Modem()).contact()
    own = drive.now
    for _ in range(40):
        drive.contact(ahead=own - drive.now - 60)
    assert drive.seen[-1] == "fail"
    assert "the same record again and again" in drive.explain().reason
    assert zone(drive) == "network-path"


def test_a_storm_of_connections_leaks_away():
    drive = Drive(Modem())
    for turn in range(80):
        drive.contact(20, link=1 + turn % 200)
    assert drive.seen[-1] == "fail"
    assert drive.explain().numbers["sign"] == "reconnects"
    drive.wait(3000)
    assert drive.verdict() == "fail"
    assert drive.wait(2 * 3600).verdict() == "good"
    assert set(Drive(Modem()).times(80, 20, link=7).seen) == {"good"}


def test_a_weak_signal_needs_a_day():
    drive = Drive(Modem()).times(40, 1800, gsm__signal=5.0)
    assert drive.seen[-1] == "suspect"
    assert drive.times(10, 1800, gsm__signal=5.0).seen[-1] == "fail"
    assert zone(drive) == "sim-operator"


# -- restarts, black box, identity


def test_restarts_are_counted_where_they_are_told():
    drive = Drive(Restarts())
    for _ in range(12):
        drive.contact(30, event=3.0, unit__id=7.0).contact(30, event=1.0, unit__id=7.0)
    assert drive.seen[-1] == "fail"
    assert zone(drive) == "terminal"
    sags = Past(lambda _: np.array([13.0, 7.0, 13.1]), np.zeros(0, np.int64))
    assert zone(drive, sags) == "wiring-power"
    assert drive.wait(5400).verdict() == "good"
    assert set(Drive(Restarts()).times(50, 30, event=3.0).seen) == {"good"}  # another protocol's third event


def test_a_black_box_that_grows_and_one_that_is_read():
    grows, read, crawls = Drive(Backlog()), Drive(Backlog()), Drive(Backlog())
    for turn in range(40):
        grows.contact(300, ahead=-8 * 3600 - 60 * turn)
        read.contact(300, ahead=-8 * 3600 - 120 * 3600 + 3600 * 3 * turn)
        crawls.contact(300, ahead=-30 * 3600 + 30 * turn)
    assert (grows.seen[-1], crawls.seen[-1]) == ("fail", "fail")
    assert "fail" not in read.seen
    assert "the black box grows" in grows.explain().reason
    assert grows.contact().wait(3).verdict() == "good"
    assert "fail" not in Drive(Backlog()).times(60, 300, ahead=-8 * 3600).seen  # a constant is a clock's matter
    beside = Drive(Backlog())
    for turn in range(40):
        beside.contact(300, ahead=-8 * 3600 - 60 * turn).contact(1)
    assert "fail" not in beside.seen


def test_two_places_over_two_connections_are_two_terminals():
    drive, spoofed = Drive(Identity()), Drive(Identity())
    for turn in range(8):
        drive.contact(link=1 + turn, lat=55.0 + 3 * (turn % 2), lon=37.0)
        spoofed.contact(link=9, lat=55.0 + 3 * (turn % 2), lon=37.0)
    assert drive.seen[:3] == ["good", "good", "good"]
    assert drive.seen[-1] == "fail"
    assert "334 km apart" in drive.explain().reason
    assert set(spoofed.seen) == {"good"}
    near = Drive(Identity())
    for turn in range(20):
        near.contact(link=1 + turn, lat=55.0 + 0.01 * turn, lon=37.0)
    assert set(near.seen) == {"good"}
    assert drive.wait(3 * 3600).verdict() == "good"


# -- all of them


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_who_was_never_heard_is_unknown_and_who_is_well_is_not(kind):
    drive = Drive(kind())
    drive.fleet.identify([1, 2], {"model": [None, None], "firmware": [None, None]})
    drive.fleet.judge()
    assert drive.verdict(2) == "unknown"
    well = {"power__external": 13.9, "fuel__level__1": 1500.0, "lat": 55.0, "lon": 37.0, "flags": DRIVES | VALID}
    drive.times(3, **well)
    assert drive.verdict(1) == "good"
    assert drive.explain(1).verdict.label == "good"
    assert drive.verdict(2) == "unknown"
    assert drive.explain(2).verdict.label == "unknown"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_one_that_is_switched_off_knows_nothing(kind):
    drive = Drive(switched_off(kind()))
    drive.times(30, 120, flags=ON | MOVING, ahead=-WEEKS_1024, power__external=0.0, fuel__status__1=3.0)
    assert set(drive.seen) == {"unknown"}
    assert drive.explain().reason == "switched off by the configuration"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_few_dozen_bytes_a_terminal(kind):
    size = sum(np.dtype(column.dtype).itemsize * int(np.prod(column.shape)) for column in kind.columns)
    assert size <= 96


def test_an_event_number_is_omnicomms_where_its_own_measures_stand_beside_it():
    rows, at = np.array([1, 2], np.int32), np.full(2, 1_800_000_000_000_000, np.int64)
    measures = {"event": np.array([3.0, 3.0]), "unit.id": np.array([7.0, np.nan])}
    told = Restarts.reduce(plain(rows, at, rows, at, at, np.zeros(2, np.int16), measures))
    assert told["restarts"].tolist() == [1, 0]


def test_any_of_omnicomms_own_measures_will_do_whatever_others_in_the_batch_tell():
    rows, at = np.array([1, 2, 3], np.int32), np.full(3, 1_800_000_000_000_000, np.int64)
    measures = {
        "event": np.array([3.0, 3.0, 3.0]),
        "unit.id": np.array([7.0, np.nan, np.nan]),
        "mileage.delta": np.array([np.nan, 5.0, np.nan]),
    }
    told = Restarts.reduce(plain(rows, at, rows, at, at, np.zeros(3, np.int16), measures))
    assert told["restarts"].tolist() == [1, 1, 0]
