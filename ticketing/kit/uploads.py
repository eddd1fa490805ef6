"""Forms that may bring files: read whole, within bounds, before anybody acts on them.

The shield lets such a body be `MAX_UPLOAD` long; what a file is called and what type it claims decide nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FIELDS = 140  # the longest form: 50 questions and their answers
MAX_FILES = 20
MAX_FIELD = 128 * 1024  # bytes of one field: a text is 10 000 characters, of twelve bytes each where urlencoded


@dataclass(frozen=True, slots=True)
class Posted:
    """What a form brought: all values of each field, and (name, content) of each file that was chosen."""

    values: Mapping[str, Sequence[str]]
    files: Sequence[tuple[str, bytes]]

    @property
    def fields(self) -> dict[str, str]:
        """The last of equal names, as forms without lists have it."""
        return {name: values[-1] for name, values in self.values.items()}

    def joined(self, *lists: str) -> dict[str, str]:
        """The same; of the names in `lists`, which checkboxes share, all values, a line each."""
        return self.fields | {name: "\n".join(self.values[name]) for name in lists if name in self.values}

    def digest(self, *without: str) -> str:
        """The same for the same fields and files, those of `without` left out."""
        found = sha256()
        for name in sorted(self.values):
            if name not in without:
                for value in self.values[name]:
                    found.update(f"{len(name)}:{name}{len(value)}:{value}".encode(errors="surrogatepass"))
        for name, content in self.files:
            found.update(f"file {len(name)}:{name}{len(content)}:".encode(errors="surrogatepass"))
            found.update(content)
        return found.hexdigest()


async def posted(request: Request) -> Posted:
    """The form, with its files or without any.

    Raises
    ------
    HTTPException
        400 for what our pages never send: too many parts, or a multipart form that says in which encoding it is to be
        read, and may lie.
    """
    kind = request.headers.get("content-type", "").lower()
    multipart = kind.startswith("multipart/form-data")
    if kind.startswith("multipart/") and (not multipart or "charset" in kind):
        raise HTTPException(400, "send the form as multipart/form-data without a charset, or urlencoded")
    values: dict[str, list[str]] = {}
    files: list[tuple[str, bytes]] = []
    async with request.form(
        max_files=MAX_FILES if multipart else 0, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD
    ) as form:
        for name, value in form.multi_items():
            if not isinstance(value, UploadFile):
                values.setdefault(name, []).append(value.replace("\r\n", "\n"))
            elif value.filename:  # a field in which nothing was chosen has none
                files.append((value.filename, await value.read()))
    return Posted(values, files)
