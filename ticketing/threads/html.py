"""HTML of a mail as the desk may show it, and as plain text.

Nothing in it is fetched from elsewhere (an image tells its sender who read the mail and when), nothing runs, nothing is
laid over the page: no images but their alternative text, no styles, no forms; links open with `noopener`.
"""

from __future__ import annotations

import re
from html import unescape

import nh3

LONGEST = 500_000  # characters; beyond that the text alone is shown
# nh3 takes time by the square of the depth: 75 s for 100 000, milliseconds for this. Outlook nests some dozens.
DEEPEST = 300
MOST_DECLARATIONS = 2000  # comments and the like: unclosed ones as well; Office writes some hundred
MOST_REFERENCES = 50_000  # ampersands: of half a million nh3 takes seconds

_TAGS = frozenset(
    [
        "a",
        "abbr",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "li",
        "ol",
        "p",
        "pre",
        "q",
        "s",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "u",
        "ul",
    ]
)
_ATTRIBUTES = {
    "a": {"href", "title"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
    "ol": {"start"},
}
_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
# Elements that close themselves or one another; all else nests.
_FLAT = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "dd",
        "dt",
        "embed",
        "hr",
        "img",
        "input",
        "li",
        "link",
        "meta",
        "option",
        "p",
        "source",
        "td",
        "th",
        "tr",
        "track",
        "wbr",
        "tbody",
        "thead",
        "tfoot",
    ]
)
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:]{0,20})")
_NAME = re.compile(r"</?[a-zA-Z]")
_SPACE = re.compile(r"[ \t\r\n\f]+")
_BREAKS = frozenset(
    [
        "p",
        "div",
        "tr",
        "li",
        "table",
        "ul",
        "ol",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "pre",
        "hr",
        "br",
        "dd",
        "dt",
    ]
)
_HIDDEN = frozenset({"script", "style", "title", "template"})
_IMAGE = re.compile(r"<img\b[^<>]{0,4000}>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s{0,3}=\s{0,3}(?:\"([^\"<>]{0,200})\"|'([^'<>]{0,200})')", re.IGNORECASE)


def cleaned(html: str) -> str | None:
    """The harmless part of it; None where it is too long or too deep to clean, or nothing is left."""
    if len(html) > LONGEST or html.count("<!") > MOST_DECLARATIONS or html.count("&") > MOST_REFERENCES:
        return None
    if _too_deep(html):
        return None
    shown = nh3.clean(
        _IMAGE.sub(lambda image: _alternative(image[0]), html),
        tags=set(_TAGS),
        clean_content_tags={"script", "style", "title"},
        attributes=_ATTRIBUTES,
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer nofollow",
    ).strip()
    return shown or None


def as_text(html: str) -> str:
    """Its words, a line for each block, quoted blocks marked with ``>``; of what is too long the beginning.

    `html.parser` takes time by the square of what is left unclosed; this looks at each character once.
    """
    html = html[: 4 * LONGEST]
    page = _Page()
    at = 0
    while at < len(html):
        start = html.find("<", at)
        end = -1 if start < 0 else html.find(">", start)
        if end < 0:
            page.words(html[at:])
            break
        if not _NAME.match(html, start) and not html.startswith("<!", start):
            page.words(html[at : start + 1])
            at = start + 1
            continue
        page.words(html[at:start])
        at = _after_tag(html, start, end, page)
    return page.text()


def _after_tag(html: str, start: int, end: int, page: _Page) -> int:
    """Note the tag between `start` and `end`; returns where to go on."""
    if html.startswith("<!--", start):
        closed = html.find("-->", start)
        return closed + 3 if closed >= 0 else len(html)
    tag = html[start + 1 : min(end, start + 24)].lower()
    name = tag.lstrip("/").split("/")[0].split()[0] if tag.strip("/ ") else ""
    closing = tag.startswith("/")
    if name in _HIDDEN and not closing:
        closed_by = re.compile(rf"</{name}[^<>]{{0,40}}>", re.IGNORECASE).search(html, end)
        return closed_by.end() if closed_by else len(html)
    if name == "img":
        page.words(_alternative(html[start : end + 1]))
    elif name == "br":
        page.end_line()
    elif name in _BREAKS:
        page.begin_block(name, closing=closing)
    return end + 1


class _Page:
    """Lines as a browser would break them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._filled = False  # whether the line has anything to show
        self._quoted = 0

    def words(self, text: str) -> None:
        text = _SPACE.sub(" ", unescape(text))
        self._line.append(text)
        self._filled = self._filled or bool(text.strip(" "))  # a non-breaking space is a line

    def end_line(self) -> None:
        self._lines.append("> " * min(self._quoted, 5) + "".join(self._line).replace("\xa0", " ").strip())
        self._line = []
        self._filled = False

    def begin_block(self, name: str, *, closing: bool) -> None:
        """Also its end: what follows stands on a line of its own, of a paragraph after a blank one."""
        if self._filled:
            self.end_line()
        if name == "p" and self._lines and self._lines[-1].strip("> "):
            self.end_line()
        if name == "blockquote":
            self._quoted = max(0, self._quoted + (-1 if closing else 1))

    def text(self) -> str:
        self.end_line()
        shown: list[str] = []
        for line in self._lines:
            bare = not line.strip("> ")
            if bare and (not shown or not shown[-1]):
                continue
            shown.append("" if bare else line)
        return "\n".join(shown).strip()


def _too_deep(html: str) -> bool:
    depth = 0
    for closing, name in _TAG.findall(html):
        if name.lower() in _FLAT:
            continue
        depth += -1 if closing else 1
        if depth > DEEPEST:
            return True
        depth = max(depth, 0)
    return False


def _alternative(image: str) -> str:
    found = _ALT.search(image[:4000])
    told = (found[1] or found[2] or "").strip() if found else ""
    return f"[{told}]" if told else ""
