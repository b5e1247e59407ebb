"""What every frontier promises. A backend's tests subclass `FrontierContract` and say how to open one."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from msgspec import structs

from crawler.errors import ConfigError
from crawler.frontier import Cursor, Frontier, JobFacts, Parting, Run, Want
from crawler.models import FileRecord, Item, Lease, Link, Page, RobotsRecord, State, Visit
from crawler.shapes import Shape
from crawler.urls import Fingerprints, split

JOB = JobFacts("books")
FAR = 1e12


class Now:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


class Desk:
    """A frontier with few words for what the tests do all the time."""

    def __init__(self, frontier: Frontier, run: Run, now: Now) -> None:
        self.frontier = frontier
        self.run = run
        self.now = now
        self._fingerprints = Fingerprints(run.key)

    def link(self, url: str, depth: int = 0, priority: int = 0, *, seed: bool = False) -> Link:
        origin, path = split(url)
        return Link(origin, self._fingerprints.of(path), path, depth, priority, seed=seed)

    async def add(self, *urls: str, depth: int = 0) -> None:
        await self.frontier.add([self.link(url, depth) for url in urls])

    async def lease(self, hosts: int = 10, batch: int = 100) -> list[Lease]:
        return list((await self.frontier.lease(Want(hosts, batch, 10.0))).leases)

    async def lease_one(self) -> Lease:
        (lease,) = await self.lease()
        return lease

    def visit(self, lease: Lease, page: Page | None = None, **facts: Any) -> Visit:
        chosen = page or lease.pages[0]
        return Visit(chosen, lease.token, facts.pop("state", State.DONE), ended_at=self.now(), **facts)

    async def release(self, lease: Lease, ready_at: float = 0.0) -> None:
        await self.frontier.release([Parting(lease.host, lease.token, ready_at)])


def urls(lease: Lease) -> list[str]:
    return [page.request.url for page in lease.pages]


class FrontierContract:
    """The promises; `open` gives a new frontier, `reopen` another engine on the same journal after a death."""

    @pytest.fixture
    def now(self) -> Now:
        return Now()

    async def open(self, now: Now) -> Frontier:
        raise NotImplementedError

    @pytest.fixture
    async def desk(self, now: Now) -> AsyncIterator[Desk]:
        frontier = await self.open(now)
        yield Desk(frontier, await frontier.begin(JOB, fresh=False), now)
        assert await frontier.violations() == []
        await frontier.close()

    async def test_a_page_is_added_once(self, desk: Desk) -> None:
        """However often a link is added, its page is fetched once."""
        await desk.add("http://a.test/", "http://a.test/x", "http://a.test/x")
        await desk.add("http://a.test/x")
        assert urls(await desk.lease_one()) == ["http://a.test/", "http://a.test/x"]
        assert (await desk.frontier.counts()).pending == 2

    async def test_order_within_a_host(self, desk: Desk) -> None:
        """Pages of a host come by priority, then depth, then arrival."""
        wanted = [("/c", 2, 0), ("/b", 1, 0), ("/a", 9, 5), ("/d", 2, 0), ("/low", 0, -1)]
        await desk.frontier.add(
            [desk.link(f"http://a.test{path}", depth, priority) for path, depth, priority in wanted]
        )
        found = (await desk.lease_one()).pages
        assert [split(page.request.url)[1] for page in found] == ["/a", "/b", "/c", "/d", "/low"]
        assert [(page.request.depth, page.request.priority) for page in found][:2] == [(9, 5), (1, 0)]

    async def test_a_leased_host_is_nobody_elses(self, desk: Desk) -> None:
        """A host that one engine asks is leased to no other."""
        await desk.add("http://a.test/")
        assert await desk.lease()
        assert await desk.lease() == []

    async def test_a_host_is_left_until_it_is_ready(self, desk: Desk) -> None:
        """A host given back with a time is not leased before it, but for what may be waited for in memory."""
        await desk.add("http://a.test/")
        await desk.release(await desk.lease_one(), ready_at=desk.now() + 60)
        assert await desk.lease() == []
        desk.now.time += 50
        assert [lease.ready_at for lease in await desk.lease()] == [desk.now() + 10]

    async def test_ready_at_is_only_raised(self, desk: Desk) -> None:
        """A host's time is never brought forward by whoever gives it back."""
        await desk.add("http://a.test/")
        await desk.release(await desk.lease_one(), ready_at=desk.now() + 9)
        await desk.release(await desk.lease_one(), ready_at=desk.now() + 1)
        assert (await desk.lease_one()).ready_at == desk.now() + 9

    async def test_more_pages_of_a_held_host(self, desk: Desk) -> None:
        """A refill brings the best pages that are not in hand."""
        await desk.add(*(f"http://a.test/{n}" for n in range(10)))
        (lease,) = await desk.lease(batch=3)
        assert not lease.complete
        held = [page.seq for page in lease.pages]
        (more,) = (await desk.frontier.lease(Want(0, 0, 10.0, {lease.host: (held, 4)}))).leases
        assert urls(more) == [f"http://a.test/{n}" for n in range(3, 7)]
        held += [page.seq for page in more.pages]
        (rest,) = (await desk.frontier.lease(Want(0, 0, 10.0, {lease.host: (held, 50)}))).leases
        assert urls(rest) == [f"http://a.test/{n}" for n in range(7, 10)]
        assert rest.complete

    async def test_a_visit_is_stored_whole(self, desk: Desk) -> None:
        """A page's end, its items and its links become true together."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        links = [desk.link("http://a.test/x", 1), desk.link("http://b.test/", 1)]
        visit = desk.visit(lease, items=[Item("", '{"n":1}'), Item("Book", '{"n":2}')], links=links, size=10)
        committed = await desk.frontier.commit([visit])
        assert committed.refused == frozenset()
        assert set(committed.best.values()) == {1}
        counts = await desk.frontier.counts()
        assert (counts.done, counts.pending, counts.items, counts.bytes) == (1, 2, 2, 10)
        assert [item.body for item in await desk.frontier.items(1, 0, 10)] == ['{"n":1}', '{"n":2}']

    async def test_a_stale_visit_is_refused_alone(self, desk: Desk) -> None:
        """Of a group only the visits whose host has a new owner are left out, and those whole."""
        await desk.add("http://a.test/", "http://b.test/")
        stale, good = sorted(await desk.lease(), key=lambda lease: lease.origin)
        await desk.release(stale)
        fresh = await desk.lease_one()
        late = desk.visit(stale, items=[Item("", "{}")], links=[desk.link("http://c.test/")])
        committed = await desk.frontier.commit([late, desk.visit(good)])
        assert committed.refused == {0}
        counts = await desk.frontier.counts()
        assert (counts.done, counts.pending, counts.items) == (1, 1, 0)
        assert (await desk.frontier.commit([desk.visit(fresh)])).refused == frozenset()

    async def test_a_retry_waits_for_its_time(self, desk: Desk) -> None:
        """A page to be tried again stays pending, keeps count of its tries, and comes back when it is due."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        retry = desk.visit(lease, state=State.PENDING, due_at=desk.now() + 30, charged=True, reason="ReadTimeout: slow")
        await desk.frontier.commit([retry])
        await desk.release(lease)
        assert await desk.lease() == []
        counts = await desk.frontier.counts()
        assert (counts.pending, counts.next_due_at) == (1, desk.now() + 30)
        desk.now.time += 31
        (page,) = (await desk.lease_one()).pages
        assert (page.attempts, page.deferrals) == (1, 0)

    async def test_circuits_are_kept(self, desk: Desk) -> None:
        """What is known of a failing host goes to whoever has it next, by a visit as by giving it back."""
        await desk.add("http://a.test/1", "http://a.test/2")
        lease = await desk.lease_one()
        assert lease.circuit == ""
        opened = '{"opened_at":5.0,"until":65.0}'
        await desk.frontier.commit([desk.visit(lease, circuit=opened), desk.visit(lease, lease.pages[1], due_at=0.0)])
        await desk.add("http://a.test/3")
        for kept in (opened, "{}"):
            await desk.frontier.release([Parting(lease.host, lease.token, 0.0, circuit=kept)])
            lease = await desk.lease_one()
            assert lease.circuit == kept

    async def test_found_nearer(self, desk: Desk) -> None:
        """A pending page that is found nearer to a seed goes by its smaller depth."""
        await desk.add("http://a.test/far", depth=5)
        await desk.add("http://a.test/near", depth=3)
        await desk.add("http://a.test/far", depth=1)
        found = await desk.lease_one()
        assert [(split(page.request.url)[1], page.request.depth) for page in found.pages] == [("/far", 1), ("/near", 3)]

    async def test_cut_by_depth_then_found_nearer(self, desk: Desk) -> None:
        """A page skipped for its depth comes back when it is found nearer, and is counted once."""
        await desk.add("http://a.test/deep", depth=5)
        lease = await desk.lease_one()
        await desk.frontier.commit([desk.visit(lease, state=State.SKIPPED, reason="depth")])
        await desk.release(lease)
        await desk.add("http://a.test/deep", depth=2)
        counts = await desk.frontier.counts()
        assert (counts.pending, counts.skipped) == (1, 0)
        assert urls(await desk.lease_one()) == ["http://a.test/deep"]

    async def test_equal_fingerprints(self, desk: Desk) -> None:
        """Two URLs with one fingerprint are two pages."""
        same = [Link("http://a.test", 7, path, 0, 0) for path in ("/x", "/y", "/z")]
        await desk.frontier.add(same)
        await desk.frontier.add(same)
        assert sorted(urls(await desk.lease_one())) == ["http://a.test/x", "http://a.test/y", "http://a.test/z"]

    async def test_an_authors_key(self, desk: Desk) -> None:
        """A key of the author's own stands for the whole URL: what bears it is one page."""
        links = [Link("http://a.test", 7, path, 0, 0, '{"url":"","key":"k"}') for path in ("/x?s=1", "/x?s=2")]
        await desk.frontier.add(links)
        await desk.frontier.add(links)
        assert urls(await desk.lease_one()) == ["http://a.test/x?s=1"]

    async def test_runs(self, desk: Desk) -> None:
        """A finished run is followed by the next, which knows no page of it; an unfinished one is resumed."""
        await desk.add("http://a.test/")
        assert (await desk.frontier.begin(JOB, fresh=False)).resumed
        lease = await desk.lease_one()
        await desk.frontier.commit([desk.visit(lease, items=[Item("", "{}")])])
        await desk.release(lease)
        await desk.frontier.finish("finished")
        second = await desk.frontier.begin(JOB, fresh=False)
        assert (second.number, second.resumed) == (2, False)
        assert (await desk.frontier.counts()).pending == 0
        await desk.add("http://a.test/")
        assert urls(await desk.lease_one()) == ["http://a.test/"]
        assert len(await desk.frontier.items(1, 0, 10)) == 1
        assert await desk.frontier.items(2, 0, 10) == []

    async def test_an_unfinished_run_does_not_finish(self, desk: Desk) -> None:
        """A run with a pending page cannot be ended by mistake."""
        await desk.add("http://a.test/")
        await desk.frontier.finish("finished")
        assert (await desk.frontier.begin(JOB, fresh=False)).number == 1

    async def test_a_run_that_came_to_nothing(self, desk: Desk) -> None:
        """A run is taken back only while it has no page."""
        await desk.frontier.withdraw()
        assert (await desk.frontier.begin(JOB, fresh=False)).resumed is False
        await desk.add("http://a.test/")
        await desk.frontier.withdraw()
        assert (await desk.frontier.begin(JOB, fresh=False)).resumed is True

    async def test_another_job(self, desk: Desk) -> None:
        """A journal refuses another spider, and the same with other arguments, naming the way out."""
        for other in (JobFacts("quotes"), JobFacts("books", {"page": "2"})):
            with pytest.raises(ConfigError, match="--job"):
                await desk.frontier.begin(other, fresh=False)

    async def test_fresh(self, desk: Desk) -> None:
        """Starting over forgets everything."""
        await desk.add("http://a.test/")
        run = await desk.frontier.begin(JobFacts("quotes"), fresh=True)
        assert (run.number, run.resumed) == (1, False)
        assert (await desk.frontier.counts()).pending == 0

    async def test_seed_hosts(self, desk: Desk) -> None:
        """The hosts of seeds, and the folders that seeds redirect to, are known again after a restart."""
        await desk.frontier.add([desk.link("http://a.test/", seed=True), desk.link("http://b.test/")])
        moved = [structs.replace(desk.link(f"http://c.test/{n}", seed=True), parent=1) for n in ("x/y?z/", "x/", "w/")]
        await desk.frontier.add(moved)
        run = await desk.frontier.begin(JOB, fresh=False)
        assert run.seeds.hosts == ("http://a.test", "http://c.test")
        assert sorted(run.seeds.folders) == ["http://c.test/w/", "http://c.test/x/"]

    async def test_a_run_that_is_over(self, desk: Desk) -> None:
        """Nothing is leased from or added to a run that has ended."""
        await desk.frontier.finish("finished")
        await desk.add("http://a.test/")
        assert await desk.lease() == []
        assert (await desk.frontier.counts()).pending == 0

    async def test_robots_are_kept(self, desk: Desk) -> None:
        """A robots.txt comes with its host's lease, byte for byte."""
        await desk.add("http://a.test/", "http://a.test/x")
        lease = await desk.lease_one()
        record = RobotsRecord(200, b"User-agent: *\nDisallow: /\xe9\xff", desk.now(), desk.now() + 100)
        await desk.frontier.commit([desk.visit(lease, robots=record, robots_for="http://a.test")])
        await desk.release(lease)
        lease = await desk.lease_one()
        assert lease.robots == record

    async def test_shapes_are_kept(self, desk: Desk) -> None:
        """What a visit tells of its URL's shape comes with the host's next lease; the latest of it counts."""
        await desk.add("http://a.test/1", "http://a.test/2", "http://b.test/")
        lease, _ = await desk.lease()
        body, early, late = (
            Shape("/#", "ab" * 16, 20, 0, "same"),
            Shape("/#", "", 50, 9, ""),
            Shape("/#", "", 99, 50, ""),
        )
        await desk.frontier.commit([desk.visit(lease, shape=body), desk.visit(lease, lease.pages[1], shape=early)])
        await desk.add("http://a.test/3")
        (again,) = (await desk.frontier.lease(Want(0, 0, 10.0, {lease.host: ((), 9)}))).leases
        await desk.frontier.commit([desk.visit(again, shape=late)])
        await desk.add("http://a.test/4")
        await desk.release(lease)
        assert list((await desk.lease_one()).shapes) == [late, body]

    async def test_a_hosts_wait_is_stored(self, desk: Desk) -> None:
        """A Retry-After outlives the engine that read it."""
        await desk.add("http://a.test/", "http://a.test/x")
        lease = await desk.lease_one()
        await desk.frontier.commit([desk.visit(lease, ready_at=desk.now() + 500)])
        await desk.release(lease)
        assert (await desk.frontier.counts()).next_due_at == desk.now() + 500

    async def test_hosts_wanted_by_name(self, desk: Desk) -> None:
        """A host can be leased for an extra fetch though it has no page."""
        want = Want(0, 0, 10.0, origins=("http://new.test",))
        (lease,) = (await desk.frontier.lease(want)).leases
        assert (lease.origin, lease.pages) == ("http://new.test", [])
        assert (await desk.frontier.lease(want)).leases == []
        await desk.release(lease)

    async def test_handlers_that_pending_pages_need(self, desk: Desk) -> None:
        """What a resumed run will call is known beforehand; finished pages need nothing."""
        rest = '{"url":"","handler":"book","failed":"broken"}'
        await desk.frontier.add([Link("http://a.test", 1, "/", 0, 0, rest), Link("http://a.test", 2, "/x", 0, 0)])
        assert await desk.frontier.handlers() == {"book", "broken"}
        lease = await desk.lease_one()
        await desk.frontier.commit([desk.visit(lease)])
        assert await desk.frontier.handlers() == frozenset()

    async def test_cursors(self, desk: Desk) -> None:
        """A sink finds its cursor and position again; a new one starts before the first item."""
        assert await desk.frontier.cursor("x.csv", 1) == Cursor()
        stands = Cursor(0, 0, {"offset": 12, "columns": ["a"]})
        await desk.frontier.follow("x.csv", 1, stands)
        assert await desk.frontier.cursor("x.csv", 1) == stands
        assert await desk.frontier.cursor("x.csv", 2) == Cursor()

    async def test_items_have_names_that_last(self, desk: Desk) -> None:
        """Item ids differ from each other; quarantined items are counted, and no sink sees them."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        items: Sequence[Item] = [Item("", "{}"), Item("Book", "{}", "title: expected str"), Item("", "{}")]
        await desk.frontier.commit([desk.visit(lease, items=items, file=FileRecord("files/x", 3, "00"))])
        found = await desk.frontier.items(1, 0, 10)
        assert len({item.id for item in found}) == 2
        counts = await desk.frontier.counts()
        assert (counts.items, counts.quarantined) == (2, 1)
        assert [item.seq for item in await desk.frontier.items(1, found[0].seq, 10)] == [found[1].seq]

    async def test_an_item_that_a_sink_refuses(self, desk: Desk) -> None:
        """A stored item that is set aside is counted as such, once, and no sink sees it again."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        await desk.frontier.commit([desk.visit(lease, items=[Item("", "{}"), Item("", "[]"), Item("", "{}")])])
        first, second, third = await desk.frontier.items(1, 0, 10)
        for _ in range(2):
            await desk.frontier.quarantine(second.seq, "items.csv: no columns")
        assert await desk.frontier.items(1, 0, 10) == [first, third]
        counts = await desk.frontier.counts()
        assert (counts.items, counts.quarantined) == (2, 1)

    async def test_reasons_are_counted(self, desk: Desk) -> None:
        """How pages ended is counted exactly, by reason."""
        await desk.add(*(f"http://a.test/{n}" for n in range(4)))
        lease = await desk.lease_one()
        ends = [(State.SKIPPED, "robots"), (State.FAILED, "HttpError: status 500"), (State.FAILED, "HttpError: 403")]
        visits = [desk.visit(lease, page, state=s, reason=r) for page, (s, r) in zip(lease.pages, ends, strict=False)]
        await desk.frontier.commit([*visits, desk.visit(lease, lease.pages[3])])
        counts = await desk.frontier.counts()
        assert counts.reasons == {"skipped: robots": 1, "failed: HttpError": 2, "done": 1}

    async def test_renewing_frees_nobody_alive(self, desk: Desk) -> None:
        """A heartbeat keeps what an engine holds."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        assert (await desk.frontier.renew()).freed == 0
        assert (await desk.frontier.commit([desk.visit(lease)])).refused == frozenset()

    # -- groups

    async def test_a_group_goes_with_its_hosts(self, desk: Desk) -> None:
        """A host joins groups, is leased with them, and leaves from when on each may be asked."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        assert lease.groups == {}
        assert await desk.frontier.join(lease.host, lease.token, {"ip:192.0.2.1": 2.0, "key": 0.5}) == {
            "ip:192.0.2.1": 0.0, "key": 0.0,
        }  # fmt: skip
        ready_at = desk.now() + 7.0
        await desk.frontier.release([Parting(lease.host, lease.token, 0.0, groups={"key": ready_at, "new": 5.0})])
        again = await desk.lease_one()
        assert {name: tuple(facts) for name, facts in again.groups.items()} == {
            "ip:192.0.2.1": (0.0, 2.0), "key": (ready_at, 0.5), "new": (5.0, 0.0),
        }  # fmt: skip
        assert await desk.frontier.join(again.host, again.token, {"key": 0.5}) == {"key": ready_at}

    async def test_only_the_owner_joins(self, desk: Desk) -> None:
        """A host that is not held, or by another token, joins no group."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        assert await desk.frontier.join(lease.host, lease.token + 1, {"key": 0.5}) is None
        await desk.release(lease)
        assert await desk.frontier.join(lease.host, lease.token, {"key": 0.5}) is None
        assert (await desk.lease_one()).groups == {}

    async def test_groups_of_a_run(self, desk: Desk) -> None:
        """The next run finds out anew which groups a host is in, and waits for them as long as it must."""
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        await desk.frontier.join(lease.host, lease.token, {"key": 0.5})
        ready_at = desk.now() + 3.0
        await desk.frontier.commit([desk.visit(lease)])
        await desk.frontier.release([Parting(lease.host, lease.token, 0.0, groups={"key": ready_at})])
        await desk.frontier.finish("finished")
        await desk.frontier.begin(JOB, fresh=False)
        await desk.add("http://a.test/")
        lease = await desk.lease_one()
        assert lease.groups == {}
        assert await desk.frontier.join(lease.host, lease.token, {"key": 0.5}) == {"key": ready_at}
