"""A download's turn: its bytes go to disk as they come, and a handler hears of it when they are all there."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from crawler.asking import Asker
from crawler.door import Door
from crawler.errors import HttpError, StorageFull, StoreUnavailable
from crawler.feeder import HostLane
from crawler.fetch.reply import Reply
from crawler.handling import NotNow
from crawler.hops import LONGEST_QUEUE
from crawler.models import Page, Request, State, Visit
from crawler.politeness import REDIRECTS
from crawler.response import File, Response


async def download(asker: Asker, lane: HostLane, page: Page) -> Visit:
    """Stream a file to disk, going on where an earlier try ended; then its handler, if it has one."""
    request = page.request
    answers: list[Reply] = []
    sent: list[bool] = []
    try:
        with asker.attempt(lane, request):
            await asker.join_groups(lane, request)
            record = await asker.files.receive(
                request.hops[0] if request.hops else request.url,  # its path was promised before it was moved
                asker.run,
                partial(_stream, asker, lane, request, answers, sent),
                partial(_progress, asker, request.url),
            )
    except StoreUnavailable as error:  # another process is writing this very file
        raise NotNow(asker.engine.clock.epoch() + LONGEST_QUEUE, str(error)) from error
    except StorageFull as error:  # no fault of the page's: what there is of it stays, and it waits for room
        wait = asker.pressure.no_room(error, asker.engine.clock.monotonic())
        raise NotNow(asker.engine.clock.epoch() + wait, str(error)) from error
    except _Elsewhere:
        return await asker.visitor.redirected(page, lane.token, answers[-1])
    finally:
        asker.downloads.pop(request.url, None)
        asker.free(lane, request, was_sent=bool(sent))
    asker.pressure.room()
    visit = Visit(page, lane.token, State.DONE, "", answers[-1].status, ended_at=asker.engine.clock.epoch())
    visit.size, visit.file = record.size, record
    if not request.handler:
        return visit
    file = File(asker.folder / record.path, record.path, record.size, record.sha256)
    door, reply = Door(asker), answers[-1]
    response = Response(
        request, url=reply.url, status=reply.status, headers=reply.headers, body=b"", door=door, file=file
    )
    return await asker.visitor.handled(visit, response, door)


@asynccontextmanager
async def _stream(
    asker: Asker,
    lane: HostLane,
    request: Request,
    answers: list[Reply],
    sent: list[bool],
    headers: Mapping[str, str],
) -> AsyncIterator[tuple[int, Mapping[str, str], AsyncIterator[bytes]]]:
    async with asker.fetcher.stream(
        request,
        headers={**asker.headers(request), **headers},
        before_send=partial(asker.sending, lane, request, sent),
    ) as (status, received, chunks):
        answers.append(Reply(request.url, status, received))
        asker.learn(request, received.getall("Set-Cookie", ()))
        if status in REDIRECTS:
            raise _Elsewhere
        if status not in {200, 206, 416}:
            error = HttpError(f"status {status}", url=request.url, status=status, hops=request.hops)
            asker.heed(lane, answers[-1])
            error.retry_after = asker.visitor.retry_after(answers[-1])
            raise error
        length = received.get("Content-Length", "")
        asker.downloads[request.url] = (0, int(length) if length.isdecimal() and status == 200 else None)
        yield status, received, chunks


def _progress(asker: Asker, url: str, size: int) -> None:
    asker.downloads[url] = (size, asker.downloads.get(url, (0, None))[1])


class _Elsewhere(Exception):
    """A download was answered with a redirect."""
