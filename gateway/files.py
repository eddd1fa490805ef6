"""Files that appear whole under their name: written beside it, then renamed."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def place_of(file: Path) -> Path:
    """Where a file of that name lies, or would: a link is followed, as whoever made it expects.

    Raises
    ------
    OSError
        If something else has the name. A rename as root would put a plain file in place of /dev/null.
    """
    place = Path(os.path.realpath(file))
    if place.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(file))
    if place.exists() and not place.is_file():
        number = errno.EISDIR if place.is_dir() else errno.EINVAL
        raise OSError(number, "Is a directory" if place.is_dir() else "it is no plain file", str(file))
    return place
