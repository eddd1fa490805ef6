"""CSV as people have it: from a spreadsheet of any language, its delimiter and encoding found out."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import GatewayError

ENCODINGS = ("utf-8", "utf-16", "cp1251", "gb18030")
_SHOWN = 50  # problems; one mistake often stands in every line
_CYRILLIC = re.compile(r"[\x00-\x7fА-яЁё№«»–—°\xa0]*")


class ImportFileError(GatewayError):
    """The file cannot be imported; `problems` are all that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        more = [f"and {len(problems) - _SHOWN} more like these"] if len(problems) > _SHOWN else []
        super().__init__("nothing was imported\n" + "\n".join(problems[:_SHOWN] + more))
        self.problems = problems


def read_text(file: Path, encoding: str, limit: int) -> tuple[str, str]:
    """The text of a file of at most `limit` bytes, and the encoding it was read with; "" as `encoding`: find out.

    Raises
    ------
    ImportFileError
        If it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            raw = opened.read(limit + 1)
    except OSError as error:
        raise ImportFileError([f"{file}: cannot be read: {error.strerror}: correct its path or rights"]) from error
    if len(raw) > limit:
        size = f"{limit >> 20} MiB" if limit >> 20 else f"{limit >> 10} KiB"
        raise ImportFileError([f"{file}: larger than {size}: split it"])
    if encoding:
        candidates = [encoding]
    elif raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        candidates = ["utf-16"]
    else:
        candidates = ["utf-8", "cp1251", "gb18030"]
    for name in candidates:
        try:
            text = raw.decode("utf-8-sig" if name == "utf-8" else name)
        except UnicodeDecodeError:
            continue
        # In Russian every letter of cp1251 is one; Chinese read so has signs in between.
        if name != "cp1251" or encoding or _CYRILLIC.fullmatch(text):
            return text, name
    raise ImportFileError([f"{file}: neither {', '.join(candidates)}: save it as UTF-8, or say --encoding"])


class Lines(Iterator[list[str]]):
    """The cells of each line; `line` is the number of the last one's first line in the file, `delimiter` theirs.

    It ends before a line that is no CSV, behind which nothing can be read: `broken` says so then, and is empty else.
    """

    def __init__(self, text: str) -> None:
        lines = text.splitlines(keepends=True)
        self._skipped = 1 if lines and re.fullmatch(r"sep=.\s*", lines[0]) else 0
        heading = lines[self._skipped] if len(lines) > self._skipped else ""
        self.delimiter = max(",;\t|", key=heading.count)
        text = "".join(lines[self._skipped :])
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter, strict=True)
        self.line = 1
        self.broken = ""

    def __next__(self) -> list[str]:
        self.line = self._skipped + self._reader.line_num + 1
        try:
            return [cell.strip() for cell in next(self._reader)]
        except csv.Error as error:
            self.broken = f"is not CSV: {error}: close the quotes, or double those inside"
            raise StopIteration from error
