"""A Dovecot of our own on a loopback port: any user with one password, each with a Maildir."""

from __future__ import annotations

import imaplib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import free_port

PASSWORD = "pässword"
UNPRIVILEGED = 65534
# Compiled into it. It is replaced by one of at most the same length.
MODULES = b"/usr/lib/dovecot/modules\0"
CONFIGURATION = """\
base_dir = {home}/base
state_dir = {home}/state
log_path = {home}/log
libexec_dir = {root}/usr/lib/dovecot
login_plugin_dir = {root}/usr/lib/dovecot/modules/login
mail_plugin_dir = {root}/usr/lib/dovecot/modules
protocols = imap
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
import_environment = LD_LIBRARY_PATH
mail_location = maildir:~/Maildir
first_valid_uid = 1
first_valid_gid = 1
service config {{
  executable = {root}/usr/lib/dovecot/config -c {home}/dovecot.conf
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={home}/mail/%u
}}
"""


class ImapServer:
    """`port`, and what a mail program does with it."""

    def __init__(self, port: int, home: Path) -> None:
        self.port = port
        self._home = home

    @contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Logged in, INBOX selected."""
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=10) as link:
            link.authenticate("PLAIN", lambda _: f"\0{user}\0{PASSWORD}".encode())
            link.select()
            yield link

    def deliver(self, user: str, *mails: bytes, folder: str = "INBOX") -> None:
        """Put mails into a mailbox."""
        with self.client(user) as link:
            for mail in mails:
                answer, data = link.append(folder, None, None, mail)
                assert answer == "OK", data

    def expunge(self, user: str, uid: int) -> None:
        """Delete a mail."""
        with self.client(user) as link:
            link.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
            link.expunge()

    def read_all(self, user: str) -> None:
        """What a person with a mail program does: everything is Seen."""
        with self.client(user) as link:
            link.store("1:*", "+FLAGS", "(\\Seen)")

    def flags(self, user: str) -> bytes:
        """Of all mails."""
        with self.client(user) as link:
            return b" ".join(item for item in link.fetch("1:*", "(FLAGS)")[1] if isinstance(item, bytes))

    def make_anew(self, user: str) -> None:
        """The same mails in a mailbox with another UIDVALIDITY."""
        for name in self._home.glob(f"mail/{user}/Maildir/dovecot*"):
            name.unlink()


@contextmanager
def running(part: Path) -> Iterator[ImapServer]:
    """Start a server from the unpacked part; stop it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="dv-", dir="/tmp"))
    folder.chmod(0o755)
    process = None
    try:
        root, home = folder / "root", folder / "home"
        shutil.copytree(part, root, symlinks=True)
        home.mkdir()
        modules = folder / "m"
        modules.symlink_to(root / "usr/lib/dovecot/modules")
        _patch(root, str(modules).encode())
        uid, gid = (UNPRIVILEGED, UNPRIVILEGED) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        port = free_port()
        (home / "dovecot.conf").write_text(
            CONFIGURATION.format(
                home=home, root=root, port=port, password=PASSWORD, uid=uid, gid=gid, user=_name(uid), group=_group(gid)
            )
        )
        demoted: dict[str, int | list[int]] = {}
        if os.geteuid() == 0:
            os.chown(home, uid, gid)
            demoted = {"user": uid, "group": gid, "extra_groups": []}
        libraries = root / "usr/lib/dovecot"
        path = [libraries, libraries / "modules", libraries / "modules/old-stats", *root.glob("*/*/*-linux-gnu")]
        path += root.glob("*/*-linux-gnu")
        command = [root / "usr/bin/doveconf", "-f", "service=master", "-c", home / "dovecot.conf", "-m", "master"]
        process = subprocess.Popen(
            [*command, "-e", root / "usr/sbin/dovecot", "-F"],
            cwd=home,
            env=os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, path))},
            **demoted,
        )
        _wait(port, process, home / "log")
        yield ImapServer(port, home)
    finally:
        if process is not None:
            process.terminate()
            process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def _patch(root: Path, modules: bytes) -> None:
    new = modules + b"\0"
    assert len(new) <= len(MODULES)
    for path in (root / "usr").rglob("*"):
        if path.is_file() and not path.is_symlink() and MODULES in (content := path.read_bytes()):
            path.write_bytes(content.replace(MODULES, new.ljust(len(MODULES), b"\0")))


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until and process.poll() is None:
        try:
            imaplib.IMAP4("127.0.0.1", port, timeout=2).logout()
        except (OSError, imaplib.IMAP4.error):
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"dovecot did not start: {log.read_text() if log.exists() else process.poll()}")


def _name(uid: int) -> str:
    import pwd

    return pwd.getpwuid(uid).pw_name


def _group(gid: int) -> str:
    import grp

    return grp.getgrgid(gid).gr_name
