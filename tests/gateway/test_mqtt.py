"""Where a broker is, as its URL says: what was put into one comes out of it, and no password is shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.mqtt import PORTS, is_host, parse_url

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
hosts = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{2,5}){0,2}", fullmatch=True) | st.sampled_from(
    ["127.0.0.1", "::1", "fe80::1", "2001:db8::7"]
)


def spelled(scheme: str, host: str, port: int | None, user: str, password: str) -> str:
    """A URL of these parts, with what is special in them escaped."""
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{login}{'@' if login else ''}{bracketed}{'' if port is None else f':{port}'}"


@settings(deadline=None)
@given(st.sampled_from(sorted(PORTS)), hosts, st.none() | st.integers(1, 65_535), words, words)
@example("mqtts", "::1", None, "a@b:c/d", "p%40:@/#?")
@example("mqtt", "h", 1, "", "password alone")
def test_a_url_is_read_as_it_was_made(scheme: str, host: str, port: int | None, user: str, password: str) -> None:
    found = parse_url(spelled(scheme, host, port, user, password))
    assert found is not None
    assert (found.scheme, found.host, found.user, found.password) == (scheme, host, user, password)
    assert found.port == (port or {"mqtt": 1883, "mqtts": 8883}[scheme])
    assert found.secure == (scheme == "mqtts")
    again = parse_url(f"{scheme}://{found}")
    assert again is not None
    assert (again.host, again.port) == (found.host, found.port), "as metrics and logs name it, it can be asked for"


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "Nd")), min_size=12, max_size=20), hosts)
def test_a_password_is_shown_nowhere(password: str, host: str) -> None:
    found = parse_url(spelled("mqtt", host, None, "user", password))
    assert found is not None
    assert password not in repr(found) + str(found) + f"{found!r} {found}"
    assert "user" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "mqtt", "mqtt:", "mqtt://", "mqtt:///x", "//h", "http://h", "MQTT+x://h", "mqtt://h/topic", "mqtt://h?x=1",
        "mqtt://h#x", "mqtt://h:0", "mqtt://h:65536", "mqtt://h:x", "mqtt://h:-1", "mqtt://a b", "mqtt://h\n", "mqtt://[::1",
        "mqtt://::1:1883", "mqtt://u:p@", "mqtt://u%00:p@h", "mqtt://u:p%00@h", f"mqtt://{'a' * 64}", "mqtt://a..b",
        f"mqtt://{'u' * 65_536}@h", f"mqtt://u:{'p' * 65_536}@h", "mqtt://h\udcff", "mqtt://u\udcff@h",
    ],
    ids=lambda text: ascii(text[:20]),
)  # fmt: skip
def test_what_is_no_broker(text: str) -> None:
    assert parse_url(text) is None


@settings(deadline=None)
@given(st.text(max_size=30).map(lambda text: f"mqtt://{text}") | st.text(max_size=20))
def test_any_text_is_a_broker_or_none(text: str) -> None:
    found = parse_url(text)
    if found is not None:
        assert is_host(found.host)
        assert 1 <= found.port <= 65_535
        assert max(len(found.user.encode()), len(found.password.encode())) < 1 << 16, "by the wire's length fields"


@pytest.mark.parametrize("host", ["a" * 63, "пример.рф", "127.0.0.1", "::1", "fe80::1%eth0", "h.", "0.0.0.0"])
def test_hosts(host: str) -> None:
    assert is_host(host)
    assert not is_host(f"{host}{'a' * 64}.x")
