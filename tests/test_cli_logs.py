import asyncio
import json
import logging
import time
import warnings
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawler.cli import logs
from crawler.models import Page, Request

log = logging.getLogger("crawler.test")
EVIL = "\x1b[2J\x9b31m\r\n12:00:00 ERROR forged\u202e\u2028"


@pytest.fixture
def page() -> logs.PageVar:
    """The variable that tells which page is worked on; none is."""
    return ContextVar("page", default=None)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def hold_up() -> None:
    time.sleep(0.15)


def page_at(url: str, handler: str = "parse") -> Page:
    return Page(1, 1, Request(url, handler=handler))


def test_text_is_one_escaped_line(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """No text from outside can begin a new line, or send an escape to the terminal."""
    with logs.to_stderr("info", "text", "job", page):
        log.warning("title %s", EVIL)
    (line,) = lines(capsys)
    assert line.isprintable()
    assert " WARNING title \\x1b[2J\\x9b31m\\r\\n12:00:00 ERROR forged\\u202e\\u2028" in line


def test_text_names_the_page(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """A record made while a page is worked on names its URL, once."""
    with logs.to_stderr("info", "text", "job", page):
        log.info("before")
        page.set(page_at("http://site.test/a"))
        log.info("slow")
        log.info("http://site.test/a failed")
    before, slow, named = lines(capsys)
    assert before.endswith("INFO before")
    assert slow.endswith("INFO slow (http://site.test/a)")
    assert named.endswith("INFO http://site.test/a failed")


def test_a_traceback_cannot_forge_lines(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """A traceback follows its record line by line, each indented and escaped."""
    with logs.to_stderr("info", "text", "job", page):
        try:
            int(EVIL)
        except ValueError:
            log.exception("it failed")
    first, *rest = lines(capsys)
    assert first.endswith("ERROR it failed")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """Each record is one line of ASCII: an object with time, level, logger, message, job, and the page's facts."""
    page.set(page_at("http://site.test:8080/a", handler="book"))
    with logs.to_stderr("info", "json", "quotes", page):
        try:
            int(EVIL)
        except ValueError:
            log.exception("failed: %s", EVIL)
    (line,) = lines(capsys)
    assert line.isascii()
    record = json.loads(line)
    assert record["exception"].splitlines()[0] == "Traceback (most recent call last):"
    assert "\x1b" not in record["exception"] + record["message"]
    del record["exception"], record["message"]
    assert record.pop("time").endswith("+00:00")
    assert record == {
        "level": "ERROR",
        "logger": "crawler.test",
        "job": "quotes",
        "host": "site.test:8080",
        "url": "http://site.test:8080/a",
        "handler": "book",
    }


@given(st.text(st.characters()) | st.text('\r\n\x0b\x0c\x1c\x1e\x85\u2028\u2029\x1b\u202e\udce9"{}\\', max_size=20))
def test_no_text_makes_a_second_line(text: str) -> None:
    """Whatever a server says, its record is one line: an object in JSON, without what moves a cursor in text."""
    page: logs.PageVar = ContextVar("page", default=None)
    record = logging.LogRecord("crawler.test", logging.WARNING, "", 0, "%s failed: %s", (text, text), None)
    line = logs.Json("quotes", page).format(record)
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line)["message"].isprintable()
    assert logs.Text(page).format(record).isprintable()


def test_levels_are_kept_and_given_back(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """Records below the level are not written, and after the block nothing is left behind."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with logs.to_stderr("warning", "text", "job", page):
        log.info("not this")
        log.error("this")
    assert len(lines(capsys)) == 1
    assert (root.level, list(root.handlers)) == before


def test_warnings_of_libraries_are_records(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """What libraries warn of goes through the same escaping."""
    with logs.to_stderr("warning", "text", "job", page), warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(EVIL, UserWarning, stacklevel=1)
    assert all(line.isprintable() for line in lines(capsys))


def test_a_wrong_record_does_not_stop_the_crawl(
    capsys: pytest.CaptureFixture[str], page: logs.PageVar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record whose arguments do not fit its message is reported, and the caller goes on."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with logs.to_stderr("info", "text", "job", page):
        log.info("%d pages", "many")
    assert "--- Logging error ---" in capsys.readouterr().err


def test_a_slow_callback_names_handler_and_page(capsys: pytest.CaptureFixture[str], page: logs.PageVar) -> None:
    """In debug mode, what held up the loop is named: the spider's handler and the page it worked on."""

    async def work() -> None:
        page.set(page_at("http://site.test/slow", handler="book"))
        await asyncio.sleep(0)
        hold_up()

    async def main() -> None:
        await asyncio.create_task(work())

    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    with logs.to_stderr("debug", "text", "job", page):
        loop.run_until_complete(main())
    loop.close()
    slow = [line for line in lines(capsys) if "Executing" in line]
    assert len(slow) == 1
    assert slow[0].endswith("(in book of http://site.test/slow)")
