"""A page's further visits: asked for only if it has changed, told apart by what came, and when the next one is due."""

from collections.abc import Mapping

from msgspec.structs import replace

from crawler.fetch.reply import Reply
from crawler.likeness import NEAR_DUPLICATE
from crawler.models import TRUNCATED, Page, Request, State, Visit
from crawler.revisit import CHANGED, UNCHANGED, Revisit, conditions, digest, next_interval, policy_for, validator

SAFE = frozenset({"GET", "HEAD"})
NOT_MODIFIED = 304


def conditional(page: Page) -> Request:
    """The page's request, as one to be answered only if the page has changed, where that can be said."""
    request = page.request
    asked = conditions(page.history) if request.method in SAFE else {}
    if not asked or any(name.lower().startswith("if-") for name in request.headers):
        return request
    return replace(request, headers={**request.headers, **asked})


def unchanged(page: Page, token: int, reply: Reply, now: float) -> Visit | None:
    """The Visit of a page that is as it was, by the server's word or by its bytes; None for another one."""
    if page.history is None or not page.history.content or NOT_MODIFIED in page.request.statuses:
        return None
    is_wanted = 200 <= reply.status < 300 or reply.status in page.request.statuses
    is_same = is_wanted and not reply.cut and reply.incomplete is None and digest(reply.body) == page.history.content
    if reply.status != NOT_MODIFIED and not is_same:
        return None
    visit = Visit(page, token, State.DONE, UNCHANGED, reply.status, reply.size, now)
    visit.content, visit.etag, visit.modified = page.history.content, page.history.etag, page.history.modified
    if is_same or reply.headers.get("ETag") or reply.headers.get("Last-Modified"):  # RFC 9110 section 15.4.5
        note(visit, reply)
    return visit


def note(visit: Visit, reply: Reply) -> None:
    """Take down what tells whether the page has changed when it is visited next; and that it has, if it has.

    Nothing does of a page of which only a part came: its reason is why.
    """
    if reply.incomplete is not None:
        visit.reason = f"{TRUNCATED}: {reply.incomplete.code}: {reply.incomplete.detail}"
        return
    visit.etag = validator(reply.headers.get("ETag", ""))
    visit.modified = validator(reply.headers.get("Last-Modified", ""))
    if visit.reason != UNCHANGED:
        visit.content = b"" if visit.page.request.method == "HEAD" else digest(reply.body)
        visit.reason = CHANGED if visit.page.history is not None else visit.reason


def schedule(visit: Visit, policies: Mapping[str, Revisit]) -> None:
    """Say in a visit when its page is visited again, if it is: pages and sitemaps are, however their visit ended.

    But those are not that are left out whatever they hold, by scope or as too deep; nor what changes something by being
    asked for, as a POST may, unless its author says that it may be repeated.
    """
    if not policies:
        return
    request, is_asked = visit.page.request, bool(visit.status) or visit.reason.startswith("robots")
    may_repeat = request.method in SAFE or request.retry
    if visit.state == State.PENDING or request.kind not in {"page", "sitemap"} or not may_repeat:
        return
    policy = policy_for(policies, request.url)
    if policy is None or (visit.state == State.SKIPPED and not is_asked):
        return
    before = visit.page.history.interval if visit.page.history is not None else None
    visit.interval = next_interval(policy, before, has_changed=_has_changed(visit))
    visit.revisit_at = visit.ended_at + visit.interval


def _has_changed(visit: Visit) -> bool | None:
    """Whether the visit has found another page than the last one; None where it has found out nothing."""
    if visit.page.request.kind == "sitemap" or visit.state in {State.FAILED, State.SKIPPED} or visit.is_truncated:
        return None
    if visit.state == State.GONE:
        return visit.page.history is not None and bool(visit.page.history.content)
    return visit.reason.partition(": ")[0] in {CHANGED, NEAR_DUPLICATE}
