"""The session in the journal: one engine at a time makes it, and what a page changed is stored with its visit."""

from pathlib import Path

from crawler.cookies import Cookie, SessionState
from crawler.frontier import JobFacts, Want
from crawler.frontier.sqlite import SqliteFrontier
from crawler.models import Clock, Link, State, Visit

ONE, TWO = (Cookie(name, "1", "a.test", "/", True, False) for name in ("one", "two"))
FACTS = JobFacts("spider")


async def test_one_claim_at_a_time(tmp_path: Path) -> None:
    """Who has the claim logs in; the others are refused until it is given up or its engine is gone."""
    one, other = (SqliteFrontier(tmp_path / "job.db") for _ in range(2))
    await one.begin(FACTS, fresh=False)
    assert await one.sessions.claim(0)
    assert not await other.sessions.claim(0)
    await one.sessions.release()
    assert await other.sessions.claim(0)
    await other.close()  # as an engine that dies in the middle of its login is buried
    assert await one.sessions.claim(0)
    kept = await one.sessions.keep(SessionState([ONE]))
    assert (kept.version, kept.is_valid, kept.state.cookies) == (1, True, [ONE])
    assert not await one.sessions.claim(1)
    await one.sessions.expire(0)
    assert (await one.sessions.look()).is_valid
    await one.sessions.expire(1)
    assert not await one.sessions.claim(0)
    assert await one.sessions.claim(1)
    await one.close()


async def test_a_late_keep_changes_nothing(tmp_path: Path) -> None:
    """An engine that was taken for dead during its login does not put its session over the one that stands."""
    one, other = (SqliteFrontier(tmp_path / "job.db") for _ in range(2))
    await one.begin(FACTS, fresh=False)
    assert await one.sessions.claim(0)
    await one.sessions.release()
    assert await other.sessions.claim(0)
    await other.sessions.keep(SessionState([TWO]))
    assert (await one.sessions.keep(SessionState([ONE]))).state.cookies == [TWO]
    await one.close()
    await other.close()


async def test_cookies_are_committed_with_their_visit() -> None:
    """Those of the session that stands are merged into it; those of an older one, or of a refused visit, are not."""
    frontier = SqliteFrontier(":memory:")
    await frontier.begin(FACTS, fresh=False)
    await frontier.sessions.claim(0)
    await frontier.sessions.keep(SessionState([ONE], {"http://a.test": {"X": "1"}}))
    await frontier.add([Link("http://a.test", number, f"/{number}", 0, 0) for number in range(3)])
    (lease,) = (await frontier.lease(Want(1, 10, 10.0))).leases
    gone = Cookie("one", "", "a.test", "/", True, False, 0.0)
    for token, session, cookie in ((lease.token - 1, 1, gone), (lease.token, 0, gone), (lease.token, 1, TWO)):
        page = lease.pages.pop()
        await frontier.commit([Visit(page, token, State.DONE, cookies=[cookie], session=("login", session))])
    found = (await frontier.sessions.look()).state
    assert (found.cookies, found.headers) == ([ONE, TWO], {"http://a.test": {"X": "1"}})
    await frontier.close()


async def test_signs_of_a_ban_are_counted_in_a_row(tmp_path: Path) -> None:
    """So many of one version retire a session for all engines; a good answer in between clears them, a login too."""
    one, other = (SqliteFrontier(tmp_path / "job.db", clock=Clock(epoch=lambda: 100.0)) for _ in range(2))
    await one.begin(FACTS, fresh=False)
    ann, others = one.sessions.named("ann"), other.sessions.named("ann")
    await ann.claim(0)
    await ann.keep(SessionState([ONE]))
    assert (await ann.strike(1, 3, 160.0, "a")).strikes == 1
    assert (await others.strike(1, 3, 161.0, "b")).strikes == 2
    await ann.clear(1)
    for strikes in (1, 2):
        assert (await ann.strike(1, 3, 162.0, "c")).strikes == strikes
    assert (await ann.strike(0, 1, 163.0, "of an older one")).strikes == 2
    retired = await others.strike(1, 3, 164.0, "d")
    assert (retired.is_valid, retired.strikes, retired.retired_until, retired.reason) == (False, 0, 164.0, "d")
    assert (await ann.strike(1, 1, 170.0, "late")).retired_until == 164.0
    assert await ann.claim(1)
    kept = await ann.keep(SessionState([TWO]))
    assert (kept.version, kept.is_valid, kept.retired_until, kept.reason) == (2, True, 0.0, "")
    await one.close()
    await other.close()


async def test_sessions_are_kept_apart() -> None:
    """What is done to one session by its name is not done to another; nor are the cookies of their pages mixed."""
    frontier = SqliteFrontier(":memory:")
    await frontier.begin(FACTS, fresh=False)
    for name, cookie in (("ann", ONE), ("bob", TWO)):
        await frontier.sessions.named(name).claim(0)
        await frontier.sessions.named(name).keep(SessionState([cookie]))
    ann, bob = (frontier.sessions.named(name) for name in ("ann", "bob"))
    await ann.claim(1)
    await ann.release()
    await bob.strike(1, 2, 1.0, "")
    await ann.expire(1)
    await ann.clear(1)
    await frontier.add([Link("http://a.test", number, f"/{number}", 0, 0) for number in range(2)])
    (lease,) = (await frontier.lease(Want(1, 10, 10.0))).leases
    changed = Cookie("new", "1", "a.test", "/", True, False)
    visits = [
        Visit(page, lease.token, State.DONE, cookies=[changed], session=session)
        for page, session in zip(lease.pages, (("bob", 1), ("cyd", 0)), strict=True)
    ]
    await frontier.commit(visits)
    known = await bob.look()
    assert (known.is_valid, known.strikes, known.state.cookies) == (True, 1, [TWO, changed])
    known = await ann.look()
    assert (known.is_valid, known.strikes, known.state.cookies) == (False, 0, [ONE])
    await frontier.close()


async def test_fresh_forgets_the_session(tmp_path: Path) -> None:
    """A job that is started over logs in anew; one that is resumed does not."""
    for fresh, version in ((False, 0), (False, 1), (True, 0)):
        frontier = SqliteFrontier(tmp_path / "job.db")
        await frontier.begin(FACTS, fresh=fresh)
        assert (await frontier.sessions.look()).version == version
        if not version and await frontier.sessions.claim(0):
            await frontier.sessions.keep(SessionState([ONE]))
        await frontier.close()
