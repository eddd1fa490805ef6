"""The texts of letters: one file a kind and language, own ones over the shipped.

A file is a first line ``Subject: …``, an empty line, and the text, with ``{{ placeholders }}`` and ``{% if %}``. From
the one text come the plain part and the HTML part: paragraphs, lists (``- …``), quotations (``> …``), the buttons.
All values are texts already; nothing that they hold is read as a template or as HTML.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from ticketing.letters.kinds import KINDS

LANGUAGES = ("en", "ru", "zh")
MAX_BYTES = 64 << 10  # of a file: a letter is a page

# What a text may say, and what it is: lists are walked, all others are texts, empty where there is nothing to say.
LISTS: Mapping[str, str] = {
    "missing": "what the request lacks, in words",
    "items": "points of a question, or what an advisory concerns",
    "entries": "of a digest: one line a letter",
}
PLACEHOLDERS: Mapping[str, str] = {
    **LISTS,
    "about": "of a reminder: `consent`, else an unanswered question",
    "body": "of `frame.txt` and `frame.html` alone: the letter",
    "buffered_until": "up to when records kept during an outage have arrived",
    "buttons": "of `recovered`, `survey` and a reminder about consent: the links, on a line of their own",
    "cause": "what it was",
    "count": "how many of the client's terminals an outage hit",
    "deemed": "whether silence was taken as consent",
    "deemed_at": "when silence will be taken as consent",
    "deferral": "why it is put off, as a sentence",
    "description": "what the client wrote",
    "desk_address": "the desk's mail address",
    "desk_name": "the desk's name, that of the sender",
    "desk_url": "the desk's web address",
    "due_at": "the ticket's next deadline",
    "duty_name": "who answers for this client",
    "duty_phone": "their phone: the contract's `hotline`",
    "ended_at": "when an outage ended",
    "eta": "when it is expected to be done",
    "eta_basis": "what that rests on",
    "name": "the recipient's name",
    "number": "the ticket's number",
    "object": "plate, vehicle or terminal, whatever is known",
    "old_eta": "when it was expected before",
    "old_number": "the ticket that a follow-up continues",
    "opened_at": "when the ticket was opened",
    "organisation": "the client",
    "owner": "who works on it",
    "plate": "number plate",
    "price": "what it costs, a line each",
    "priority": "1 (first) to 4",
    "promise": "by when a person answers",
    "proof": "of recovery, as a sentence",
    "quoted": "the same as `description`, as a quotation",
    "reason": "why the priority was changed",
    "register": "the number of an official letter",
    "reopen_until": "until when an answer reopens the ticket",
    "saw": "what the watch saw, as a sentence",
    "started_at": "when an outage began",
    "step": "how many reminders there were, this one among them",
    "subject": "the ticket's title",
    "terminal": "IMEI or other identity",
    "text": "what a person typed",
    "title": "of an advisory",
    "today": "the day of the letter",
    "until": "when a deferral ends",
    "url": "the ticket's page",
    "vehicle": "the vehicle's name",
    "vendor": "whom we wait for",
    "visit": "that a visit is planned, as a sentence",
    "withdrawn": "why it ended without consent",
    "workaround": "what helps until then",
}
_SHIPPED = resources.files(__package__) / "texts"
_BLANKS = re.compile(r"\n{3,}")


class Rendered(NamedTuple):
    """A letter's words: `text` is the plain part, `html` the other."""

    subject: str
    text: str
    html: str


class TextProblem(NamedTuple):
    """What is wrong with a file of own texts."""

    place: str
    what: str
    remedy: str


class TextsError(Exception):
    """Own texts cannot be used; `problems` says why."""

    def __init__(self, problems: list[TextProblem]) -> None:
        super().__init__("\n".join(": ".join(problem) for problem in problems))
        self.problems = problems


class Texts:
    """Texts by language and kind."""

    def __init__(self, own: Mapping[str, str] | None = None) -> None:
        """`own`: file name such as ``ru/ack.txt`` → content, in place of the shipped."""
        self._sources = {**shipped(), **(own or {})}
        self._compiled: dict[str, tuple[jinja2.Template, jinja2.Template]] = {}

    @classmethod
    def of(cls, folder: Path) -> Texts:
        """With the texts of a folder over the shipped ones.

        Raises
        ------
        TextsError
            All that is wrong with them.
        """
        own, wrong = _read(folder)
        if wrong:
            raise TextsError(wrong)
        return cls(own)

    def render(self, kind: str, language: str, values: Mapping[str, Any], buttons: Mapping[str, str]) -> Rendered:
        """Write a letter.

        Parameters
        ----------
        language : one that is not known is English.
        values : what `PLACEHOLDERS` names; what is missing is empty.
        buttons : label → address.
        """
        language = language if language in LANGUAGES else "en"
        given = {name: [] if name in LISTS else "" for name in PLACEHOLDERS} | dict(values)
        # A line that no value can hold: a value is cleaned of it first.
        mark = "\ue000buttons\ue000"
        given = {name: _without(value, "\ue000") for name, value in given.items()} | {"buttons": mark}
        head, body = self._template(f"{language}/{kind}.txt")
        subject = " ".join(head.render(given).split())
        given["body"] = _tidy(body.render(given))
        whole = _tidy(self._template(f"{language}/frame.txt")[1].render(given))
        lines = "\n\n".join(f"{label}\n{address}" for label, address in buttons.items())
        text = whole.replace(mark, lines).replace("\n--\n", "\n-- \n") + "\n"
        frame = self._template("frame.html")[1]
        html = frame.render(language=language, subject=subject, body=_as_html(whole, mark, buttons, str(given["url"])))
        return Rendered(subject, text, html + "\n")

    def _template(self, name: str) -> tuple[jinja2.Template, jinja2.Template]:
        """Subject and text of a file, compiled at its first use; a frame has no subject."""
        if name not in self._compiled:
            environment = _environment(autoescape=name.endswith(".html"))
            source = self._sources[name]
            head, _, body = source.partition("\n") if source.startswith("Subject:") else ("", "", source)
            subject = environment.from_string(head.partition(":")[2])
            self._compiled[name] = subject, environment.from_string(body)
        return self._compiled[name]


class Words:
    """Single words and sentences of a language, by table and key."""

    def __init__(self, language: str) -> None:
        name = language if language in LANGUAGES else "en"
        self._tables: dict[str, dict[str, str]] = tomllib.loads((_SHIPPED / name / "words.toml").read_text("utf-8"))

    def get(self, table: str, key: str, default: str = "") -> str:
        """One of them, `default` where there is none."""
        return self._tables[table].get(key, default)

    @cached_property
    def keys(self) -> frozenset[tuple[str, str]]:
        """All there are."""
        return frozenset((table, key) for table, entries in self._tables.items() for key in entries)


@lru_cache(maxsize=len(LANGUAGES) + 1)
def words(language: str) -> Words:
    """Those of a language; of one that is not known the English."""
    return Words(language if language in LANGUAGES else "en")


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, str]:
    """File name → content of all shipped texts."""
    names = [f"{language}/{kind}.txt" for language in LANGUAGES for kind in (*KINDS, "frame")]
    return {name: (_SHIPPED / name).read_text("utf-8") for name in (*names, "frame.html")}


def problems(folder: Path) -> list[TextProblem]:
    """Everything wrong with a folder of own texts; empty: it is good."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[dict[str, str], list[TextProblem]]:
    own: dict[str, str] = {}
    wrong: list[TextProblem] = []
    if not folder.is_dir():
        return {}, [TextProblem(str(folder), "is no folder", "create it, with files such as en/ack.txt")]
    known = shipped()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {close[0]}?" if close else "name it LANGUAGE/KIND.txt, such as ru/ack.txt"
            wrong.append(TextProblem(str(path), "is no text of a letter", remedy))
            continue
        try:
            content = path.read_bytes()[: MAX_BYTES + 1]
            if len(content) > MAX_BYTES:
                raise ValueError(f"has more than {MAX_BYTES} bytes")
            own[name] = content.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            wrong.append(TextProblem(str(path), "is not UTF-8", "save it as UTF-8"))
        except (OSError, ValueError) as error:
            wrong.append(TextProblem(str(path), str(error), "correct the file or its rights"))
        else:
            wrong += _checked(path, name, own[name])
    if not own and not wrong:
        wrong.append(TextProblem(str(folder), "holds no text of a letter", "add one, such as en/ack.txt, or unset it"))
    return own, wrong


def _checked(path: Path, name: str, content: str) -> Iterator[TextProblem]:
    environment = _environment(autoescape=name.endswith(".html"))
    allowed = {"language", "subject", "body"} if name.endswith(".html") else set(PLACEHOLDERS)
    if name.endswith(".txt") and not name.endswith("/frame.txt") and not content.startswith("Subject:"):
        yield TextProblem(f"{path}:1", "does not begin with its subject", 'write "Subject: …" in the first line')
    try:
        used = meta.find_undeclared_variables(environment.parse(content))
    except jinja2.TemplateSyntaxError as error:
        yield TextProblem(f"{path}:{error.lineno}", f"cannot be read: {error.message}", "correct the line")
        return
    for unknown in sorted(used - allowed):
        line = next((n for n, row in enumerate(content.split("\n"), 1) if re.search(rf"\b{unknown}\b", row)), 1)
        close = difflib.get_close_matches(unknown, allowed, 1)
        remedy = f"did you mean {{{{ {close[0]} }}}}?" if close else f"known: {', '.join(sorted(allowed))}"
        yield TextProblem(f"{path}:{line}", f"there is no placeholder {{{{ {unknown} }}}}", remedy)
    if name.endswith(("frame.txt", "frame.html")) and "body" not in used:
        yield TextProblem(str(path), "does not say where the text goes", "write {{ body }}")
    if used <= allowed:
        sample = {one: ["x"] if one in LISTS else "x" for one in allowed}
        try:
            environment.from_string(content).render({**sample, "language": "en"})
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            yield TextProblem(str(path), f"cannot be filled: {error}", "keep to placeholders, if and for")


def _environment(*, autoescape: bool = False) -> ImmutableSandboxedEnvironment:
    # Plain text is escaped where it becomes HTML, in `_as_html`.
    return ImmutableSandboxedEnvironment(
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _without(value: Any, mark: str) -> Any:
    if isinstance(value, str):
        return value.replace(mark, "")
    return [_without(one, mark) for one in value] if isinstance(value, list) else value


def _tidy(text: str) -> str:
    return _BLANKS.sub("\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip("\n")


def _as_html(text: str, mark: str, buttons: Mapping[str, str], url: str) -> Markup:
    """Paragraphs of plain text as HTML; only our own address becomes a link."""
    parts: list[Markup] = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        if paragraph == mark:
            parts += [
                Markup(
                    '<p><a href="{}" style="display:inline-block;padding:10px 16px;border:1px solid #777;'
                    'border-radius:6px;text-decoration:none">{}</a></p>'
                ).format(address, label)
                for label, address in buttons.items()
            ]
        elif lines[0] == "--":
            parts.append(Markup('<hr><p style="color:#777;font-size:14px">{}</p>').format(_lines(lines[1:], url)))
        elif all(line.startswith("- ") for line in lines):
            items = Markup("").join(Markup("<li>{}</li>").format(line[2:]) for line in lines)
            parts.append(Markup("<ul>{}</ul>").format(items))
        elif all(line.startswith(">") for line in lines):
            quoted = _lines([line[1:].removeprefix(" ") for line in lines], url)
            parts.append(
                Markup(
                    '<blockquote style="margin:0;padding-left:12px;border-left:3px solid #999">{}</blockquote>'
                ).format(quoted)
            )
        elif paragraph:
            parts.append(Markup("<p>{}</p>").format(_lines(lines, url)))
    return Markup("\n").join(parts)


def _lines(lines: list[str], url: str) -> Markup:
    shown = [Markup('<a href="{0}">{0}</a>').format(line) if url and line == url else escape(line) for line in lines]
    return Markup("<br>\n").join(shown)
