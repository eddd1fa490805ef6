"""Addresses, texts and budget of the desk, `[[notify]]`, events of a webhook: what they mean, what is wrong."""

from pathlib import Path

import pytest

from gateway.configuration.reading import ConfigError, load

URLS = "ntfy://localhost/topic\n"


def settings(folder: Path, text: str, **environ: str):
    file = folder / "dozor.toml"
    file.write_text(text, encoding="utf-8")
    (folder / "urls").write_text(URLS)
    return load(file, {"HOME": "/x", **environ}, implicit=False, whole=True)


def wrong(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, '[[webhook]]\nurl = "http://h"\n')
    assert (found.desk.addresses, found.desk.letters, found.notify) == ([], None, [])
    assert (found.desk.budget.address_hour, found.desk.budget.address_day) == (10, 40)
    assert found.webhook[0].events == ("ticket.opened",)


def test_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "ours" / "ru").mkdir(parents=True)
    (tmp_path / "ours" / "ru" / "ack.txt").write_text("Subject: x\n\n{{ number }}\n")
    found = settings(
        tmp_path,
        '[desk]\naddresses = ["Support <support@desk.example>", "help@desk.example"]\nletters = "ours"\n'
        "budget = {address_hour = 3}\n"
        '[[webhook]]\nurl = "http://h"\nevents = ["outage.closed", "ticket.opened", "ticket.opened"]\n'
        '[[notify]]\nurl_file = "urls"\nevents = ["ticket.opened", "breach"]\n',
    )
    assert found.desk.addresses == ["Support <support@desk.example>", "help@desk.example"]
    assert found.desk.letters == tmp_path / "ours"
    assert (found.desk.budget.address_hour, found.desk.budget.address_day) == (3, 40)
    assert found.webhook[0].events == ("ticket.opened", "outage.closed")
    assert (found.notify[0].url_file, found.notify[0].events) == (
        tmp_path / "urls",
        ("ticket.opened", "ticket.breached"),
    )


def test_one_notifier_may_come_from_the_environment(tmp_path: Path) -> None:
    found = settings(
        tmp_path, "", DOZOR_NOTIFY__URL_FILE=str(tmp_path / "urls"), DOZOR_NOTIFY__EVENTS="breach, ticket.closed"
    )
    assert found.notify[0].events == ("ticket.breached", "ticket.closed")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[desk]\naddresses = ["nobody"]', '2: desk.addresses: "nobody" is no mail address'),
        ('[desk]\naddresses = ["имя@desk.example"]', "2: desk.addresses: "),
        (f'[desk]\naddresses = ["{"x" * 41}@desk.example"]', "has more than 40 characters before the @"),
        ("[desk]\nbudget = {address_hour = 0}", "2: desk.budget.address_hour: 0 is out of range"),
        ("[desk]\nbudget = {hour = 1}", "2: desk.budget.hour: unknown key"),
        ('[desk]\nletters = "nowhere"', "2: desk.letters: nowhere: is no folder"),
        ('[[webhook]]\nurl = "http://h"\nevents = ["ticket.open"]', '3: webhook.events: "ticket.open" is not known'),
        ('[[webhook]]\nurl = "http://h"\nevents = []', "3: webhook.events: is empty"),
        ("[[notify]]\nevents = ['breach']", "1: notify.url_file: is missing"),
        ('[[notify]]\nurl_file = ""', "2: notify.url_file: is empty: name a file"),
        ('[[notify]]\nurl_file = "none"', "2: notify.url_file: none is no file"),
        ('[[notify]]\nurl_file = "dozor.toml"', "dozor.toml:1: is no address that apprise knows"),
        ('[[notify]]\nurl_file = "urls"\n[[notify]]\nurl_file = "urls"', "stands in another [[notify]] too"),
        ('[mail]\nhost = "h"', "2: mail.to: is empty, and mail.host is set"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (problem,) = wrong(tmp_path, text)
    assert problem.startswith("dozor.toml:")
    assert told in problem


def test_own_texts_are_read(tmp_path: Path) -> None:
    (tmp_path / "ours" / "en").mkdir(parents=True)
    for name, text in (("ack", "Subject: x\n\n{{ nubmer }}"), ("eta", "no subject")):
        (tmp_path / "ours" / "en" / f"{name}.txt").write_text(text)
    (problem,) = wrong(tmp_path, '[desk]\nletters = "ours"\n')
    assert problem == (
        "dozor.toml:2: desk.letters: ours/en/ack.txt:3: there is no placeholder {{ nubmer }} (and 1 more): "
        "did you mean {{ number }}?"
    )


def test_a_desk_with_addresses_needs_nobody_among_the_staff(tmp_path: Path) -> None:
    found = settings(tmp_path, '[desk]\naddresses = ["support@desk.example"]\n[mail]\nhost = "h"\n')
    assert found.mail.to == []
