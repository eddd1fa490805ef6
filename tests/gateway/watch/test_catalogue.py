from datetime import date

import pytest

from detectors.firmware import Mark, Release
from gateway.watch.catalogue import CatalogueError, read_catalogue

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
        ("[[release]", "line 1"),
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
