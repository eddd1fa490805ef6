"""`dozor user`, run as people run it: on a store of its own, the service not running."""

import asyncio
import tempfile
from pathlib import Path

import psycopg
import pytest

from tests import processes
from tests.ticketing.desk_parts import opened, pool_of
from ticketing.people.passwords import Passwords
from ticketing.people.users import BadNameError, BadRoleError, LastAdminError, NoUserError, UserExistsError, Users


def dozor(dsn, *words, stdin=""):
    """Run the command with the store given by the environment."""
    where = {"DOZOR_STORE__DSN": dsn, "PATH": "/usr/bin:/bin"}
    return processes.run("user", *words, environment=where, cwd=Path(tempfile.gettempdir()), text=stdin)


def test_accounts_by_command(postgres_dsn):
    made = dozor(postgres_dsn, "add", "anna", "--role", "admin", "--password-stdin", stdin="pass word 1\n")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    token = dozor(postgres_dsn, "token", "anna", "--scope", "read")
    assert token.returncode == 0
    assert len(token.stdout.splitlines()) == 1
    again = dozor(postgres_dsn, "add", "Anna", "--role", "engineer", "--password-stdin", stdin="x")
    assert again.returncode == 2
    assert "exists" in again.stderr
    for address, code in (("Anna@Desk.example", 0), ("anna", 2), ("", 0), ("a@desk.example", 0)):
        told = dozor(postgres_dsn, "email", "anna", address)
        assert (told.returncode, "no e-mail address" in told.stderr) == (code, code == 2), told.stderr
    last = dozor(postgres_dsn, "remove", "anna")
    assert last.returncode == 2
    assert "last admin" in last.stderr
    wrong = dozor(postgres_dsn, "add", "boris", "--role", "king", "--password-stdin", stdin="x")
    assert wrong.returncode == 2
    for password in ("", "\n", "x" * 1025):
        refused = dozor(postgres_dsn, "add", "boris", "--role", "crew", "--password-stdin", stdin=password)
        assert refused.returncode == 2, password
    assert dozor(postgres_dsn, "password", "anna", "--password-stdin", stdin="another\r\n").returncode == 0
    assert dozor(postgres_dsn, "password", "nobody", "--password-stdin", stdin="x").returncode == 2
    ended, token = token, dozor(postgres_dsn, "token", "anna", "--scope", "read")  # the password ended the first
    unasked = dozor(postgres_dsn, "add", "boris", "--role", "crew")
    assert "--password-stdin" in unasked.stderr
    listed = dozor(postgres_dsn, "list")
    assert [line.split("\t")[:2] for line in listed.stdout.splitlines()] == [["anna", "admin"]]

    async def signs_in(password):
        async with pool_of(postgres_dsn) as pool:
            users = Users(pool, passwords=Passwords())
            try:
                assert await users.by_token(ended.stdout.strip()) is None
                found = await users.by_token(token.stdout.strip())
                assert (found.name, found.role, found.scope) == ("anna", "admin", "read")
                return await opened(users, "anna", password, "") is not None
            finally:
                users.close()

    assert asyncio.run(signs_in("another"))
    assert not asyncio.run(signs_in("pass word 1"))
    with psycopg.connect(postgres_dsn) as connection:
        stored = connection.execute(
            "SELECT email || password || (SELECT string_agg(encode(digest, 'hex'), '') FROM api_token) FROM app_user"
        ).fetchone()[0]
    assert stored.startswith("a@desk.example$argon2id$")
    assert token.stdout.strip() not in stored


def test_names_roles_and_the_last_admin(postgres_dsn):
    async def main():
        async with pool_of(postgres_dsn) as pool:
            users = Users(pool, passwords=Passwords())
            try:
                for name in ("", " a", "a\n", "x" * 65, "watch", "WATCH", "a\0"):
                    with pytest.raises(BadNameError):
                        await users.add(name, "admin", "pw")
                with pytest.raises(BadRoleError):
                    await users.add("a", "root", "pw")
                await users.add("ольга", "admin", "пароль")
                await users.add("anna", "admin", "pw")
                with pytest.raises(UserExistsError):
                    await users.add("ОЛЬГА", "client", "pw")
                assert (await opened(users, "Ольга", "пароль", "x"))[0].name == "ольга"
                removed = await asyncio.gather(users.remove("anna"), users.remove("ольга"), return_exceptions=True)
                assert sorted(type(r).__name__ for r in removed) == ["LastAdminError", "NoneType"]
                assert len(await users.accounts()) == 1
                with pytest.raises(LastAdminError):
                    await users.remove((await users.accounts())[0].name)
                for work in (users.remove("nobody"), users.token("nobody"), users.set_password("nobody", "x")):
                    with pytest.raises(NoUserError):
                        await work
            finally:
                users.close()

    asyncio.run(main())


def test_removing_a_user_ends_everything_of_theirs(postgres_dsn):
    async def main():
        async with pool_of(postgres_dsn) as pool:
            users = Users(pool, passwords=Passwords())
            try:
                await users.add("anna", "admin", "pw")
                await users.add("boris", "engineer", "pw")
                _, session = await opened(users, "boris", "pw", "x")
                token = await users.token("boris")
                assert await users.by_session(session)
                assert await users.by_token(token)
                await users.remove("Boris")
                assert await users.by_session(session) is None
                assert await users.by_token(token) is None
            finally:
                users.close()

    asyncio.run(main())


def test_tokens_are_listed_and_revoked(postgres_dsn):
    for name in ("anna", "boris"):
        assert (
            dozor(postgres_dsn, "add", name, "--role", "admin", "--password-stdin", stdin="pass word 1").returncode == 0
        )
    made = dozor(postgres_dsn, "token", "anna", "--scope", "read", "--label", "export", "--expires", "90d")
    assert made.returncode == 0, made.stderr
    assert dozor(postgres_dsn, "token", "boris").returncode == 0
    listed = dozor(postgres_dsn, "token", "list").stdout.splitlines()
    assert [line.split("\t")[1:4] for line in listed] == [["anna", "read", "export"], ["boris", "full", ""]]
    assert made.stdout.strip() not in "".join(listed)
    assert "expires never" in listed[1]
    assert "expires never" not in listed[0]
    assert len(dozor(postgres_dsn, "token", "list", "ANNA").stdout.splitlines()) == 1
    number = listed[0].split("\t")[0]
    assert dozor(postgres_dsn, "token", "revoke", number).returncode == 0
    again = dozor(postgres_dsn, "token", "revoke", number)
    assert (again.returncode, f"no token {number}" in again.stderr) == (2, True)
    assert len(dozor(postgres_dsn, "token", "list").stdout.splitlines()) == 1
    for wrong in (("revoke",), ("revoke", "x"), ("list", "a", "b"), ("anna", "boris"), ("anna", "--expires", "soon")):
        assert dozor(postgres_dsn, "token", *wrong).returncode == 2, wrong
    refused = dozor(postgres_dsn, "add", "list", "--role", "crew", "--password-stdin", stdin="pass word 1")
    assert (refused.returncode, "choose another name" in refused.stderr) == (2, True)
