"""`dozor clock` from outside: what it prints, where, and with which exit code."""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.commands import clock

REMOTE = ["--policy", "integrator-standard", "--clock", "reaction-remote"]
MAIN = """
import argparse, sys
from gateway.commands import clock
parser = argparse.ArgumentParser(prog="dozor clock")
clock.add_arguments(parser)
sys.exit(clock.run(parser.parse_args()))
"""
ROOT = Path(__file__).parents[2]


def dozor(*options, stdin=""):
    """A process of its own, as a script would start it."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *options], input=stdin.encode(), capture_output=True, cwd=ROOT, timeout=120
    )


def run(capsys, *options):
    parser = argparse.ArgumentParser(prog="dozor clock")
    clock.add_arguments(parser)
    code = clock.run(parser.parse_args(options))
    return code, *capsys.readouterr()


EXAMPLES = [
    ([*REMOTE, "--start", "2025-10-31T17:00:00+03:00"], "2025-11-01T12:00:00+03:00"),
    (
        ["--policy", "integrator-standard", "--clock", "reaction-on-site", "--start", "2025-10-31T17:00:00+03:00"],
        "2025-11-06T15:00:00+03:00",
    ),
    (
        ["--policy", "integrator-standard", "--clock", "reaction-on-site", "--start", "2026-02-13T17:00:00+08:00",
         "--calendar", "CN"],
        "2026-02-25T14:00:00+08:00",
    ),
    (
        [*REMOTE, "--budget", "8h", "--start", "2026-03-28T22:00:00+01:00", "--calendar", "none",
         "--time-zone", "Europe/Berlin", "--hours", "22:00-06:00", "--days", "Mon-Sun"],
        "2026-03-29T23:00:00+02:00",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "due"), EXAMPLES, ids=["1", "2", "5", "6"])
def test_worked_examples(capsys, options, due):
    code, out, err = run(capsys, *options, "--json")
    assert (code, err) == (0, "")
    assert out.endswith("}\n")
    assert out.count("\n") == 1
    assert json.loads(out)["due"] == due


def test_json_object_of_the_contract(capsys):
    _, out, _ = run(capsys, *REMOTE, "--start", "2025-10-31T17:00:00+03:00", "--json", "--at", "2025-11-01T12:00:01")
    found = json.loads(out)
    assert {key: found[key] for key in ("policy", "clock", "start", "due", "calendar", "time_zone", "fires")} == {
        "policy": "integrator-standard", "clock": "reaction-remote", "start": "2025-10-31T17:00:00+03:00",
        "due": "2025-11-01T12:00:00+03:00", "calendar": "RU", "time_zone": "Europe/Moscow", "fires": "after",
    }  # fmt: skip
    assert found["budget"] == {"kind": "working", "minutes": 240}
    assert sum(entry["counted_minutes"] for entry in found["intervals"]) == 240
    assert found["at"] == {"instant": "2025-11-01T12:00:01+03:00", "counted_minutes": 240, "fired": True}


def test_days_and_real_clocks(capsys):
    _, out, _ = run(capsys, "--policy", "dealer-desk", "--clock", "official-letter", "--start", "2025-10-31T17:00",
                    "--budget", "2d", "--json")  # fmt: skip
    found = json.loads(out)
    assert found["budget"] == {"kind": "working-days", "days": 2}
    counted = [entry for entry in found["intervals"] if entry["counted_days"]]
    assert [(entry["from"], entry["to"]) for entry in counted] == [
        ("2025-11-01T09:00:00+03:00", "2025-11-01T17:00:00+03:00"),
        ("2025-11-05T09:00:00+03:00", "2025-11-05T18:00:00+03:00"),
    ]
    _, out, _ = run(capsys, "--policy", "after-sales", "--clock", "reply", "--start", "2025-10-01T03:00Z", "--json")
    found = json.loads(out)
    assert (found["calendar"], found["time_zone"]) == (None, "Asia/Shanghai")
    assert found["due"] == "2025-10-01T11:10:00+08:00"


def test_held_by_an_open_pause(capsys):
    _, out, _ = run(capsys, *REMOTE, "--start", "2025-10-14T10:00", "--pause", "2025-10-14T11:00..", "--pause",
                    "2025-10-14T10:15..2025-10-14T10:30", "--json", "--at", "2025-10-20T10:00")  # fmt: skip
    found = json.loads(out)
    assert found["due"] is None
    assert sum(entry["counted_minutes"] for entry in found["intervals"]) == 45
    assert found["at"] == {"instant": "2025-10-20T10:00:00+03:00", "counted_minutes": 45, "fired": False}


def test_words(capsys):
    code, out, _ = run(capsys, *REMOTE, "--start", "2025-10-31T17:00:00+03:00")
    assert code == 0
    assert "Saturday 1 November, worked instead of Monday 3 November, closes at 17:00: day before a holiday" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--policy"),
        (["--policy", "integrator-standard"], "--clock"),
        (REMOTE, "--start"),
        ([*REMOTE, "--start", "soon"], "start"),
        (["--policy", "gold", "--clock", "reaction", "--start", "2025-10-14T10:00"], "unknown policy"),
        (["--policy", "after-sales", "--clock", "resolution", "--start", "2025-10-14T10:00"], "no clock"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--calendar", "FR"], "unknown calendar"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--time-zone", "Mars"], "unknown time zone"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--budget", "0m"], "above zero"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--budget", "3d"], "wrong unit"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--pause", "2025-10-14T12:00..2025-10-14T11:00"], "before it begins"),
        ([*REMOTE, "--start", "2023-10-14T10:00"], "2023"),
        ([*REMOTE, "--start", "2025-10-14T10:00", "--hours", "18:00-24:00,23:00-24:00"], "overlaps"),
        (["--batch", "-", "--policy", "after-sales"], "--policy: it does not go with --batch"),
        (["--batch", "-", "--pause", "a..b"], "--pause: it does not go with --batch"),
        (["--batch", "/nowhere/at/all"], "cannot read"),
    ],
)
def test_errors_go_to_stderr_with_exit_2(capsys, options, said):
    code, out, err = run(capsys, *options)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_process_of_its_own():
    good = dozor(*REMOTE, "--start", "2025-10-31T17:00:00+03:00", "--json")
    assert (good.returncode, good.stderr) == (0, b"")
    assert json.loads(good.stdout)["due"] == "2025-11-01T12:00:00+03:00"
    bad = dozor(*REMOTE, "--start", "never")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert b"start: 'never' is no instant" in bad.stderr


QUESTION = {"policy": "integrator-standard", "clock": "reaction-remote", "start": "2025-10-31T17:00:00+03:00"}


def test_batch_answers_line_by_line_and_goes_on():
    long = json.dumps({**QUESTION, "clock": "x" * (1 << 20)})
    lines = [
        json.dumps(QUESTION),
        "no json",
        json.dumps({**QUESTION, "pauses": ["2025-11-01T09:00..2025-11-01T10:00"], "at": "2025-11-01T11:00"}),
        "[]",
        "",
        json.dumps({**QUESTION, "clock": "resolution"}),
        json.dumps({**QUESTION, "pause": "2025-11-01T09:00.."}),
        long,
        '{"policy": "\udcff"}',
        json.dumps({**QUESTION, "calendar": None, "budget": "8h"}),
    ]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--batch", "-"],
        input="\n".join(lines).encode("utf-8", "surrogateescape"),
        capture_output=True,
        cwd=ROOT,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    assert [answer.get("due") for answer in answers] == [
        "2025-11-01T12:00:00+03:00", None, "2025-11-01T13:00:00+03:00", None, None, None, None, None, None,
        "2025-11-01T16:00:00+03:00",
    ]  # fmt: skip
    assert ["error" in answer for answer in answers] == [bool(i not in (0, 2, 9)) for i in range(10)]
    assert answers[2]["at"] == {"instant": "2025-11-01T11:00:00+03:00", "counted_minutes": 120, "fired": False}
    assert "unknown field" in answers[6]["error"]
    assert "longer than" in answers[7]["error"]


def test_batch_answers_while_the_input_is_open():
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "--batch", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        for _ in range(3):
            process.stdin.write(json.dumps(QUESTION).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["due"] == "2025-11-01T12:00:00+03:00"
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.timing
def test_batch_rate(tmp_path):
    """100 000 due times in under 20 s on one core; here 20 000 in a fifth of that, start of the process included."""
    questions = tmp_path / "questions.jsonl"
    clocks = [
        ("integrator-standard", "reaction-on-site"),
        ("support-procedure", "reaction-basic"),
        ("dealer-desk", "official-letter"),
        ("carrier-helpdesk", "swap-4"),
        ("after-sales", "outer-bound"),
    ]
    with questions.open("w") as file:
        for number in range(20_000):
            policy, name = clocks[number % 5]
            day = f"202{4 + number % 3}-{1 + number % 12:02d}-{1 + number % 28:02d}"
            start = f"{day}T{number % 24:02d}:{number % 60:02d}:07Z"
            file.write(json.dumps({"policy": policy, "clock": name, "start": start}) + "\n")
    began = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = dozor("--batch", str(questions))
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime  # of its core, whoever else works
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 20_000
    assert b'"error"' not in done.stdout
    assert took < 4.0
