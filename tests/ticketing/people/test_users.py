"""Accounts, sessions and tokens in the store: however a name is spelled, and whoever acts at the same moment."""

import asyncio
import unicodedata
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store.migrate import migrate
from tests.ticketing.desk.parts import QUICK
from tests.ticketing.desk_parts import execute, fetch, opened, pool_of
from ticketing.people.passwords import BusyError, Passwords
from ticketing.people.users import (
    MAX_NAME,
    BadNameError,
    BadRoleError,
    LastAdminError,
    NoUserError,
    UserExistsError,
    Users,
    checked_name,
)

NOW = datetime(2026, 11, 16, 10, 0, tzinfo=UTC)


class Moment:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


class Meddling(Passwords):
    """While a password is verified, something else happens to the account."""

    def __init__(self, meanwhile=None):
        super().__init__(hasher=QUICK)
        self.meanwhile = meanwhile

    async def verify(self, encoded, password):
        right = await super().verify(encoded, password)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return right


@asynccontextmanager
async def users_of(dsn, passwords=None, **options):
    async with pool_of(dsn) as pool:
        await execute(pool, "DELETE FROM app_user")
        users = Users(pool, passwords=passwords or Passwords(hasher=QUICK), **options)
        try:
            yield pool, users
        finally:
            users.close()


def run(dsn, work, passwords=None, **options):
    async def main():
        async with users_of(dsn, passwords, **options) as (pool, users):
            return await work(pool, users)

    return asyncio.run(main())


async def waiting(pool, count):
    """Until so many wait for a lock."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(30):
        while await fetch(pool, waits) != [(count,)]:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.005)


SPELLINGS = ("Андрей", "андрей", "АНДРЕЙ")  # a composed й: some keyboards send two characters for it


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_a_name_is_one_account_however_it_is_typed(shared_dsn, name, form):
    """For signing in and for every command alike."""

    async def work(_pool, users):
        await users.add(unicodedata.normalize("NFD", "Андрей"), "engineer", "first")
        typed = unicodedata.normalize(form, name)
        with pytest.raises(UserExistsError):
            await users.add(typed, "engineer", "another")
        token = await users.token(typed)
        assert (await users.by_token(token)).name == "Андрей"
        assert await opened(users, typed, "first", "") is not None
        await users.set_password(typed, "second")
        assert await opened(users, typed, "first", "") is None
        assert await opened(users, typed, "second", "") is not None
        await users.remove(typed)
        assert await users.accounts() == []
        assert await users.by_token(token) is None

    run(shared_dsn, work)


@pytest.mark.parametrize("name", ["", " ", "\udcff", "a\0b", "x" * (MAX_NAME + 1), "x" * 100_000, "\u202e", "a\nb"])
def test_what_is_no_name_is_nobodys(shared_dsn, name):
    async def work(_pool, users):
        await users.add("anna", "admin", "right")
        for action in (
            lambda: users.token(name),
            lambda: users.set_password(name, "new"),
            lambda: users.remove(name),
        ):
            with pytest.raises(NoUserError):
                await action()
        assert await opened(users, name, "right", "") is None
        with pytest.raises(BadNameError):
            await users.add(name, "engineer", "right")
        assert [account.name for account in await users.accounts()] == ["anna"]

    run(shared_dsn, work)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=70))
def test_a_checked_name_stays_what_it_is(name):
    """Checked once or twice it is the same, printable, and no name of the service's."""
    try:
        found = checked_name(name)
    except BadNameError:
        return
    assert checked_name(found) == found == found.strip()
    assert found.isprintable()
    assert 1 <= len(found) <= MAX_NAME
    assert found.lower() != "watch"


def test_a_store_whose_letters_are_ascii_alone_serves_names_all_the_same(postgres_server):
    """A database of one's own may have any locale; in `C` the server knows no small Cyrillic letters."""
    maintenance = postgres_server.dsn.replace("dbname=dozor", "dbname=postgres")
    with psycopg.connect(maintenance, autocommit=True) as link:
        link.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER libc")
    dsn = postgres_server.dsn.replace("dbname=dozor", "dbname=ascii")
    try:
        migrate(dsn)

        async def work(_pool, users):
            await users.add("Игорь", "admin", "right")
            await users.add("Ann", "engineer", "right")
            assert await opened(users, "Игорь", "right", "") is not None
            with pytest.raises(LastAdminError):
                await users.remove("Игорь")
            await users.remove("ANN")
            await users.add("Ольга", "admin", "right")
            await users.remove("Игорь")
            return [account.name for account in await users.accounts()]

        assert run(dsn, work) == ["Ольга"]
    finally:
        with psycopg.connect(maintenance, autocommit=True) as link:
            link.execute("DROP DATABASE ascii WITH (FORCE)")


def test_a_password_changed_while_the_old_one_is_verified_lets_nobody_in(shared_dsn):
    """Whoever set the new one was told that all sessions have ended."""
    passwords = Meddling()

    async def work(pool, users):
        await users.add("anna", "engineer", "old")
        other = Users(pool, passwords=Passwords(hasher=QUICK))
        passwords.meanwhile = lambda: other.set_password("anna", "new")
        try:
            assert await opened(users, "anna", "old", "") is None
        finally:
            other.close()
        assert await fetch(pool, "SELECT count(*) FROM session") == [(0,)]
        assert await opened(users, "anna", "new", "") is not None

    run(shared_dsn, work, passwords)


def test_a_new_password_ends_the_session_that_is_being_opened(shared_dsn):
    """Both statements meet on the account's row; whichever was first, no session of the old password is left."""

    async def work(pool, users):
        await users.add("anna", "engineer", "old")
        (user,) = await fetch(pool, "SELECT id FROM app_user")
        async with pool.connection() as opening:
            async with opening.transaction():
                await opening.execute("SELECT FROM app_user WHERE id = %s FOR SHARE", user)
                changing = asyncio.create_task(users.set_password("anna", "new"))
                await waiting(pool, 1)
                await opening.execute(
                    "INSERT INTO session (digest, app_user, opened_at, used_at, address) VALUES ('x', %s, %s, %s, '')",
                    (*user, NOW, NOW),
                )
            await changing
        assert await fetch(pool, "SELECT count(*) FROM session") == [(0,)]

    run(shared_dsn, work)


def test_an_account_removed_while_its_password_is_verified_lets_nobody_in(shared_dsn):
    passwords = Meddling()

    async def work(pool, users):
        await users.add("anna", "engineer", "right")
        other = Users(pool, passwords=Passwords(hasher=QUICK))
        passwords.meanwhile = lambda: other.remove("anna")
        try:
            assert await opened(users, "anna", "right", "") is None
        finally:
            other.close()
        assert await fetch(pool, "SELECT count(*) FROM session") == [(0,)]

    run(shared_dsn, work, passwords)


def test_of_two_admins_who_remove_each_other_one_stays(shared_dsn):
    async def work(pool, users):
        for name in ("anna", "bob"):
            await users.add(name, "admin", "right")
        async with pool.connection() as held, held.transaction():
            await held.execute("SELECT FROM app_user FOR UPDATE")
            both = [asyncio.create_task(users.remove(name)) for name in ("anna", "bob")]
            await waiting(pool, 2)
        outcomes = await asyncio.gather(*both, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome] == [LastAdminError]
        assert len(await users.accounts()) == 1

    run(shared_dsn, work)


def test_of_many_who_take_one_name_one_gets_it(shared_dsn):
    async def work(_pool, users):
        names = ["Anna", "anna", "ANNA", "aNNa"]
        outcomes = await asyncio.gather(*(users.add(name, "crew", name) for name in names), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes].count(UserExistsError) == 3
        (account,) = await users.accounts()
        assert await opened(users, "anna", account.name, "") is not None, "the password is that of who got it"

    run(shared_dsn, work)


def test_a_token_has_its_accounts_rights_and_its_own_scope(shared_dsn):
    async def work(pool, users):
        await users.add("anna", "manager", "right")
        full, read = await users.token("anna"), await users.token("ANNA", "read")
        assert full != read
        found = [await users.by_token(token) for token in (full, read, full + "x", "", "x" * 100_000, "\udcff")]
        assert [(user.name, user.role, user.scope) for user in found[:2]] == [
            ("anna", "manager", "full"),
            ("anna", "manager", "read"),
        ]
        assert found[2:] == [None] * 4
        stored = await fetch(pool, "SELECT encode(digest, 'hex'), used_at IS NOT NULL FROM api_token")
        assert all(full not in hexed and read not in hexed for hexed, _ in stored), "only digests are kept"
        assert [used for _, used in stored] == [True, True]
        assert await users.by_session(full) is None, "a token is no session, and the other way round"
        _, session = await opened(users, "anna", "right", "")
        assert await users.by_token(session) is None
        await execute(pool, "UPDATE app_user SET role = 'auditor'")
        assert (await users.by_token(full)).role == "auditor", "at once, not when it is issued anew"
        with pytest.raises(psycopg.errors.CheckViolation):
            await users.token("anna", "everything")

    run(shared_dsn, work)


def test_a_session_is_touched_now_and_then_and_ends_by_either_limit(shared_dsn):
    clock = Moment()

    async def work(pool, users):
        await users.add("anna", "engineer", "right")
        _, token = await opened(users, "anna", "right", "x" * 500)
        used = "SELECT used_at, length(address) FROM session"
        clock.now += timedelta(seconds=59)
        assert await users.by_session(token) is not None
        assert await fetch(pool, used) == [(NOW, 64)], "not written at every request"
        clock.now += timedelta(seconds=2)
        assert await users.by_session(token) is not None
        assert (await fetch(pool, used))[0][0] == clock.now
        clock.now += timedelta(hours=8, seconds=1)
        assert await users.by_session(token) is None
        assert (await users.accounts())[0].sessions == 0, "a list counts what still runs"
        _, other = await opened(users, "anna", "right", "")
        assert await fetch(pool, "SELECT count(*) FROM session") == [(1,)], "what has ended is cleared away"
        began = clock.now
        while clock.now - began < timedelta(days=7, hours=-7):
            clock.now += timedelta(hours=7)
            assert await users.by_session(other) is not None
        clock.now = began + timedelta(days=7)
        assert await users.by_session(other) is None

    run(shared_dsn, work, now=clock)


def test_a_clock_set_back_ends_no_session(shared_dsn):
    clock = Moment()

    async def work(_pool, users):
        await users.add("anna", "engineer", "right")
        _, token = await opened(users, "anna", "right", "")
        clock.now -= timedelta(hours=3)
        assert await users.by_session(token) is not None
        clock.now += timedelta(hours=3, minutes=2)
        assert await users.by_session(token) is not None

    run(shared_dsn, work, now=clock)


def test_signing_out_ends_one_session_and_no_other(shared_dsn):
    async def work(pool, users):
        await users.add("anna", "engineer", "right")
        await users.add("bob", "engineer", "right")
        sessions = [(await opened(users, name, "right", ""))[1] for name in ("anna", "anna", "bob")]
        await users.sign_out(sessions[0])
        await users.sign_out("none of ours")
        assert [(await users.by_session(token)) is not None for token in sessions] == [False, True, True]
        await users.set_password("anna", "new")
        assert [(await users.by_session(token)) is not None for token in sessions] == [False, False, True]
        await users.remove("bob")
        assert await fetch(pool, "SELECT count(*) FROM session") == [(0,)]

    run(shared_dsn, work)


def test_wrong_accounts_are_refused_before_a_password_is_hashed(shared_dsn):
    async def work(_pool, users):
        for role in ("root", "", "Admin", "admin "):
            with pytest.raises(BadRoleError):
                await users.add("anna", role, "right")
        for name in ("watch", "Watch", " anna", "anna ", "an\tna"):
            with pytest.raises(BadNameError):
                await users.add(name, "admin", "right")
        assert not await users.anybody()

    run(shared_dsn, work)


@pytest.mark.parametrize("password", ["", "x" * 1025, "я" * 513, "\udcff" * 1025])
def test_what_no_password_can_be_is_never_verified(password):
    class Never(PasswordHasher):
        def verify(self, *_):
            raise AssertionError("it costs 64 MiB")

    passwords = Passwords(hasher=Never())
    try:
        assert asyncio.run(passwords.verify("x", password)) is False
    finally:
        passwords.close()


@pytest.mark.parametrize("password", ["x", "я" * 512, "x" * 1024, " \t", "p\0q", "🚚" * 256])
def test_any_other_password_is_itself_and_nothing_else(password):
    async def main():
        passwords = Passwords(hasher=QUICK)
        try:
            encoded = await passwords.hash(password)
            right = [await passwords.verify(encoded, word) for word in (password, password + "x", password[:-1])]
            damaged = [await passwords.verify(word, password) for word in ("", "$argon2id$", "plain", None)]
            return encoded, right, damaged
        finally:
            passwords.close()

    encoded, right, damaged = asyncio.run(main())
    assert password not in encoded or len(password) < 3
    assert right == [True, False, False]
    assert damaged == [False] * 4


def test_room_for_logins_is_given_back_whatever_became_of_them():
    async def main():
        passwords = Passwords(hasher=QUICK, threads=1, waiting=1)
        try:
            encoded = await passwords.hash("right")
            for _ in range(3):
                outcomes = await asyncio.gather(
                    *(passwords.verify(encoded, "right") for _ in range(6)), return_exceptions=True
                )
                assert outcomes.count(True) == 2
                assert sum(isinstance(outcome, BusyError) for outcome in outcomes) == 4
            task = asyncio.create_task(passwords.verify(encoded, "right"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return await asyncio.gather(passwords.verify(encoded, "right"), passwords.verify(encoded, "right"))
        finally:
            passwords.close()

    assert asyncio.run(main()) == [True, True]
