"""One more request of a page, when its turn has come at its host: what handlers, logins and wraps ask for at once."""

import asyncio
import contextlib

from crawler.asking import Asker
from crawler.circuit import is_hopeless
from crawler.errors import (
    BlockedAddress,
    DnsError,
    FetchError,
    HttpError,
    RobotsDisallowed,
    RobotsUnreachable,
    TlsError,
)
from crawler.feeder import HostLane, Ticket
from crawler.fetch.reply import Reply
from crawler.frontier import Want
from crawler.handling import NotNow, NotYet
from crawler.models import Request
from crawler.politeness import OVERLOADED, SHORTEST_REST, UNREACHABLE
from crawler.urls import split

LONGEST_QUEUE = 20.0  # an extra fetch whose host is not free within it gives its page back
_FINAL = {kind.__name__: kind for kind in (BlockedAddress, TlsError)}


async def sent(asker: Asker, request: Request) -> Reply:
    """The answer to a request that goes before the queued pages of its host, under the same law."""
    while True:
        with asker.engine.lent_place():
            lane = await _lane(asker, request)
        with contextlib.suppress(NotYet):
            return await sent_by(asker, lane, request)


async def sent_by(asker: Asker, lane: HostLane, request: Request) -> Reply:
    """The same by a lane of which a place is held; it is free when this ends."""
    robots = lane.robots
    if robots is not None and (robots is UNREACHABLE or asker.visitor.is_forbidden(request, robots)):
        asker.free(lane, request, was_sent=False)
        if robots is UNREACHABLE:
            raise unreachable(lane, request.url)
        raise RobotsDisallowed("robots.txt forbids it", url=request.url)
    return await asker.ask(lane, request)


def refuse_overload(asker: Asker, request: Request, reply: Reply) -> None:
    """Raise NotNow when a host answers that it is overloaded; HttpError when it has done so for long."""
    if reply.status not in OVERLOADED:
        return
    now = asker.engine.clock.epoch()
    lane = asker.engine.workbench.by_origin.get(split(request.url)[0])
    until = 0.0 if lane is None else lane.circuit.until
    if lane is not None and is_hopeless(lane.circuit, asker.engine.settings.circuit_patience, now):
        raise HttpError(f"its host has answered with {reply.status} for long", url=request.url)
    wait = asker.visitor.retry_after(reply) or SHORTEST_REST
    raise NotNow(max(now + wait, until), f"{request.url} was answered with {reply.status}")


async def _lane(asker: Asker, request: Request) -> HostLane:
    """The host's lane, when it is this request's turn there."""
    origin = split(request.url)[0]
    workbench = asker.engine.workbench
    due_at = asker.engine.clock.epoch() + LONGEST_QUEUE
    if origin not in workbench.by_origin:
        await asker.engine.feeder.lease(Want(0, 0, LONGEST_QUEUE, origins=(origin,)))
    if (lane := workbench.by_origin.get(origin)) is None:
        raise NotNow(due_at)
    ticket: Ticket = asyncio.get_running_loop().create_future()
    workbench.hurry(lane, ticket, request.group)
    asker.engine.stir()
    asker.engine.dispatch()
    try:
        async with asyncio.timeout(LONGEST_QUEUE):
            await ticket
    except BaseException as error:
        if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
            asker.free(lane, request, was_sent=False)  # its turn came in the very moment in which it gave up
        else:
            workbench.withdraw(lane, ticket)
        if isinstance(error, TimeoutError):
            raise NotNow(due_at) from None
        raise
    return lane


def unreachable(lane: HostLane, url: str) -> FetchError:
    """Why a page of a host without a robots.txt fails: where no connection can be made, that is no matter of robots."""
    code, _, detail = lane.robots_why.partition(": ")
    if code == DnsError.__name__:
        return DnsError(detail, url=url, permanent=True)
    if code in _FINAL:
        return _FINAL[code](detail, url=url)
    return RobotsUnreachable(f"its robots.txt could not be had: {lane.robots_why}", url=url)
