"""Templates: everything escaped, times both relative and absolute, and the words for states and verdicts.

Words of codes stand in `kit.vocabulary`; all words are said in the reader's language (`kit.words`), all times in the
reader's zone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup
from starlette.responses import HTMLResponse

from detectors.verdicts import spell
from ticketing.commands import visible
from ticketing.core.moments import iso, local_time
from ticketing.kit import words
from ticketing.kit.access import Visitor
from ticketing.kit.settings import DeskSettings
from ticketing.kit.vocabulary import ACTIONS, KINDS, PRICES, PROMISES, ROLES, SPAN_UNITS, STATES, VERDICTS
from ticketing.kit.words import CALLED, _, language
from ticketing.model.kinds import MASS, PLATFORM, STORM
from ticketing.working_time.errors import ClockInputError
from ticketing.working_time.time_zones import zone as named_zone

# A measure's unit goes by its name; the longest matching beginning wins.
UNITS = {
    "speed": "km/h",
    "altitude": "m",
    "odometer": "m",
    "mileage.delta": "m",
    "power.": "V",
    "adc.": "V",
    "gsm.signal": "%",
    "temperature.": "°C",
    "fuel.temperature.": "°C",
    "fuel.volume.": "l",
}


# Of evidence: first what is wrong, then what it was judged by, the raw rows last. Within rows, times first.
READING_ORDER = (
    *(
        "verdict",
        "reason",
        "zone",
        "confidence",
        "storm",
        "group",
        "decision",
        "by",
        "value",
        "silent",
        "expected",
        "share",
        "usual_share",
        "score",
        "needed",
        "suspected_s",
        "explanations",
        "members",
        "failing",
        "terminal",
        "firmware",
        "rhythm",
        "connections",
        "records",
        "relapses",
    ),
    *("identity", "name", "protocol", "model", "version", "recommended", "mark"),
    *("at", "time", "received", "opened_at", "closed_at", "address", "lat", "lon", "speed", "satellites"),
)
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT[0-2]\d:[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.ASCII)

FEATURES = Path(__file__).parents[1]


class Rendering:
    """Renders the templates of all features; `now` is asked once a page, `kinds` are words for kinds of incident."""

    def __init__(
        self, settings: DeskSettings, now: Callable[[], datetime], kinds: Mapping[str, str] | None = None
    ) -> None:
        kinds = {**(kinds or {}), STORM: KINDS[STORM], MASS: KINDS[MASS], PLATFORM: KINDS[PLATFORM]}
        self._settings = settings
        self._now = now
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(sorted(FEATURES.glob("*/templates"))),  # a feature's lie beside it
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        self._environment.policies["ext.i18n.trimmed"] = True
        i18n: Any = self._environment  # its methods come from the extension
        i18n.install_gettext_callables(words.gettext, words.ngettext, newstyle=True)
        self._environment.globals.update(
            version=settings.version,
            refresh=settings.refresh,
            live=settings.live,
            states=STATES,
            kinds=kinds,
            verdicts=PROMISES,
            roles=ROLES,
            languages=CALLED,
            language=language,
            spoken=spoken,
            span=duration,
        )
        self._environment.filters.update(
            state=lambda s: _(called(STATES, s)),
            kind=lambda k: _(called(kinds, k)),
            action=lambda a: _(ACTIONS.get(a) or a),
            verdict=lambda v: _(VERDICTS.get(v) or v),
            price=lambda p: ", ".join(_(PRICES.get(part) or part) for part in str(p).split("+")),
            size=size,
            # Of texts that may be anybody's: `_()` of a template takes what it is given for a pattern, and for safe.
            words=words.gettext,
            said=lambda options: {value: _(text) for value, text in options.items()},
            segment=lambda text: quote(text, safe=""),
            query=lambda values: urlencode({k: v for k, v in values.items() if v}),
            unit=unit,
            number=number,
            grouped=lambda n: f"{n:,}".replace(",", " "),
            label=label,
            told=told,
            visible=visible,
            moment=datetime.fromisoformat,
            ordered=ordered,
        )

    def zone_of(self, who: Visitor | None) -> tzinfo:
        """The zone that somebody's times are shown in: their own, a client's organisation's, or the desk's."""
        key = None if who is None else who.user.time_zone or who.user.organisation_zone
        return self._settings.zone if key is None else own_zone(key)

    def page(
        self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
    ) -> HTMLResponse:
        """Render `template`; `when` and `clock` know the moment of rendering."""
        now = self._now()
        zone = self.zone_of(values.get("who"))
        text = self._environment.get_template(template).render(
            **values,
            now=now,
            when=lambda moment, **kind: when(moment, now, zone, **kind),
            clock=lambda due: clock(due, now),
            stamp=lambda moment: stamp(moment, zone),
            deadline=lambda moment, place="": deadline(moment, zone, place or self._settings.policy_zone),
            zone=str(zone),
            instant=iso,
            lasted=lambda a, b: duration(((b or now) - a).total_seconds()),
        )
        return HTMLResponse(text, status, headers)


def called(words: Mapping[str, str], code: str) -> str:
    """What a code is called; one that is not listed is made readable."""
    return words.get(code, code.replace("_", " ").replace("-", " ").capitalize())


def size(count: int) -> str:
    """So many bytes, in the unit that fits."""
    if count < 1024:
        return f"{count} B"
    return f"{count / 1024:.1f} KiB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MiB"


@lru_cache(maxsize=256)
def own_zone(key: str) -> tzinfo:
    """The zone of a name that was checked when it was set; UTC should it be unknown by now."""
    try:
        return named_zone(key).info
    except ClockInputError:
        return UTC


def spoken() -> str:
    """The words that pages' scripts say, as JSON: `{}` stands for a span of time."""
    words = {
        "overdue": _("{} overdue"),
        "left": _("{} left"),
        "ago": _("{} ago"),
        "in": _("in {}"),
        "units": {unit: _(word) for unit, word in SPAN_UNITS.items()},
    }
    return json.dumps(words, ensure_ascii=False)


def unit(measure: str) -> str:
    """The unit of a measure, "" where it has none or none is known."""
    fitting = [beginning for beginning in UNITS if measure.startswith(beginning)]
    return _(UNITS[max(fitting, key=len)]) if fitting else ""


def label(key: Any) -> str:
    """A key of evidence as words; an ending of one letter is its unit."""
    words = str(key).replace("_", " ")
    if words[-2:-1] == " ":
        words = f"{words[:-2]}, {words[-1]}"
    return _(words[:1].upper() + words[1:])


def ordered(keys: Mapping[str, Any]) -> list[str]:
    """Keys of evidence in the order people read them; the store keeps none."""
    rank = {key: n for n, key in enumerate(READING_ORDER)}
    return sorted(keys, key=lambda key: (rank.get(key, len(rank)), key))


def told(text: str, stamp: Callable[[datetime], str]) -> str:
    """A text of evidence; an instant becomes readable."""
    if not INSTANT.fullmatch(text):
        return text
    try:
        return stamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):  # the thirteenth month, or a year that no zone can hold
        return text


def number(value: Any) -> str:
    """A measure's value for people."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if not -1e15 < value < 1e15:  # infinite, or too long to be read in groups
        return str(value)[:100]
    if value == int(value):
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.9g}"


def stamp(moment: datetime, zone: tzinfo) -> str:
    """An absolute time with its zone."""
    local = local_time(moment, zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {_called(local)}"


def deadline(moment: datetime, zone: tzinfo, place: tzinfo | str | None) -> str:
    """An absolute time with its zone, and in that of the policy where it reads otherwise there."""
    there = named_zone(place).info if isinstance(place, str) else place
    local, away = local_time(moment, zone), local_time(moment, there or zone)
    if local.utcoffset() == away.utcoffset():
        return stamp(moment, zone)
    shown = f"{away:%H:%M:%S}" if away.date() == local.date() else f"{away:%Y-%m-%d %H:%M:%S}"
    return f"{stamp(moment, zone)} ({shown} {_called(away)})"


def _called(local: datetime) -> str:
    """The zone's short name, which many zones have not."""
    name = local.tzname() or ""
    return f"UTC{name}" if name[:1] in ("+", "-") else name


def when(moment: datetime | None, now: datetime, zone: tzinfo, *, short: bool = False) -> Markup:
    """A `<time>` that says how long ago, and when exactly; `short` keeps the exact time for the tooltip."""
    if moment is None:
        return Markup('<span class="none">{}</span>').format(_("never"))
    seconds = (now - moment).total_seconds()
    words = _("{} ago").format(duration(seconds)) if seconds >= 0 else _("in {}").format(duration(-seconds))
    exact = stamp(moment, zone)
    if short:
        return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(iso(moment), exact, words)
    return Markup('<time datetime="{}">{} <span class="ago" data-ago>{}</span></time>').format(
        iso(moment), exact, words
    )


def clock(due: datetime, now: datetime) -> Markup:
    """A running clock: what is left until `due`, or how long ago it was."""
    left = (due - now).total_seconds()
    kind = "late" if left < 0 else "soon" if left < 3600 else "calm"
    words = _("{} overdue").format(duration(-left)) if left < 0 else _("{} left").format(duration(left))
    return Markup('<span class="clock {}" role="timer" data-due="{}">{}</span>').format(kind, iso(due), words)


def duration(seconds: float) -> str:
    """Two units at most: "3 d 4 h", "12 min", "40 s"."""
    number, unit, *rest = spell(abs(seconds), fine=False).split()
    words = f"{number} {_(SPAN_UNITS[unit])}"
    return f"{words} {rest[0]} {_(SPAN_UNITS[rest[1]])}" if rest else words
