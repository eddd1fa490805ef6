from datetime import date

import pytest

from detectors.firmware import Mark, Release, Target
from gateway.configuration.catalogue import CatalogueError, read_catalogue

GOOD = """
grace_days = 14
[[release]]
model = "FMB920"
version = "03.27.07"
released = 2025-06-01
[[release]]
model = "FMB920"
version = "03.25.00"
released = 2025-01-01
mark = "broken"
[[release]]
model = "protocol:omnicomm"
version = "312"
released = 2024-01-01
"""


def write(tmp_path, text):
    path = tmp_path / "releases.toml"
    path.write_text(text)
    return path


def test_releases_by_model(tmp_path):
    catalogue = read_catalogue(write(tmp_path, GOOD))
    assert catalogue.grace_days == 14
    assert catalogue.models["FMB920"] == [
        Release("03.27.07", date(2025, 6, 1)),
        Release("03.25.00", date(2025, 1, 1), Mark.BROKEN),
    ]
    assert catalogue.models["protocol:omnicomm"][0].mark is None


def test_an_empty_file_has_thirty_days_of_grace_and_knows_nothing(tmp_path):
    catalogue = read_catalogue(write(tmp_path, ""))
    assert (catalogue.grace_days, dict(catalogue.models)) == (30, {})


TARGET = '[[target]]\nmodel = "m"\nversion = "2"\nsince = 2026-01-01\n'


def test_targets_by_model_and_customer(tmp_path):
    catalogue = read_catalogue(write(tmp_path, TARGET + TARGET + 'customer = "North"'))
    assert catalogue.targets == [
        Target("m", "2", date(2026, 1, 1)),
        Target("m", "2", date(2026, 1, 1), "North"),
    ]


RELEASE = '[[release]]\nmodel = "m"\nversion = "1"\nreleased = 2025-01-01\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("grace_days = -1", "grace_days: must be a number of days"),
        ("grace_days = true", "grace_days"),
        ("grace_days = nan", "grace_days"),
        ("grace = 3", "grace: unknown key"),
        ("release = 3", r"write \[\[release\]\]"),
        ("release = [3]", "release 1: must be a table"),
        (RELEASE.replace('"1"', "1"), "release 1: version: must be a text in quotes"),
        (RELEASE.replace('model = "m"', ""), "release 1: model"),
        (RELEASE.replace("2025-01-01", '"2025-01-01"'), "released: must be a date without quotes"),
        (RELEASE.replace("2025-01-01", "2025-01-01T00:00:00Z"), "released: must be a date"),
        (RELEASE + 'mark = "bad"', 'mark: must be "critical" or "broken"'),
        (RELEASE + 'note = "x"', "note: unknown key"),
        (RELEASE + RELEASE, "release 2: version 1 of m stands here twice"),
        ("[[release]", "1: not TOML"),
        ("target = 3", r"write \[\[target\]\]"),
        ("target = [3]", "target 1: must be a table"),
        (TARGET + 'customer = ""', "target 1: customer: must be a text in quotes"),
        (TARGET.replace("2026-01-01", "3"), "target 1: since: must be a date without quotes"),
        (TARGET + 'mark = "broken"', "target 1: mark: unknown key"),
        (TARGET + TARGET, "target 2: there is a target of m for all customers already"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(CatalogueError, match=said) as caught:
        read_catalogue(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CatalogueError, match="No such file"):
        read_catalogue(tmp_path / "absent.toml")


def test_all_that_is_wrong_is_told_at_once_each_with_its_line(tmp_path):
    path = write(tmp_path, "grace_days = -1\n" + RELEASE + "\n[[release]]\nmodel = 5\nreleased = 1\nversions = '2'\n")
    with pytest.raises(CatalogueError) as caught:
        read_catalogue(path)
    told = sorted((p.removeprefix(f"{path}:").split(": ")[:3] for p in caught.value.problems), key=lambda p: int(p[0]))
    assert told == [
        ["1", "grace_days", "must be a number of days, not -1"],
        ["7", "release 2", "version"],  # it has none: the table's line
        ["8", "release 2", "model"],
        ["9", "release 2", "released"],
        ["10", "release 2", "versions"],
    ]


def test_marks_of_order_and_line_ends_of_windows_do_not_matter(tmp_path):
    path = tmp_path / "releases.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_catalogue(path).models == read_catalogue(write(tmp_path, GOOD)).models
