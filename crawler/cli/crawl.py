"""``crawler crawl``: from what was typed to a crawl."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, TypeVar

from cyclopts import Parameter

from crawler import stages
from crawler.cli import find, layers, loading, starter, stdout, words
from crawler.cli.jobs import held
from crawler.cli.options import FLAG, MANY, OUTPUT, Folder
from crawler.cli.run import to_the_end
from crawler.cli.serve import serve
from crawler.cli.view import View
from crawler.errors import ConfigError
from crawler.export import Existing
from crawler.job import Crawl, Limits
from crawler.processes.child import LINE, Line
from crawler.settings import parse_duration, parse_size
from crawler.sinks import sink_for
from crawler.spider import Spider, build, check

STOPPED = 4
Number = TypeVar("Number", int, float)


@Parameter(name="*")
@dataclass(frozen=True)
class Job:
    """What is crawled, where it goes, and by how many engines."""

    arguments: Annotated[
        tuple[str, ...], MANY, Parameter(name="-a", help="key=value: an argument of the spider; repeatable")
    ] = ()
    settings: Annotated[
        tuple[str, ...], MANY, Parameter(name="-s", help="setting=value, see 'crawler settings'; repeatable")
    ] = ()
    seed: Annotated[tuple[str, ...], MANY, Parameter(help="a further URL to start from; repeatable")] = ()
    output: Annotated[tuple[str, ...], MANY, OUTPUT] = ()
    job: Annotated[str | None, Parameter(help="the job's name, by default the spider's")] = None
    fresh: Annotated[bool, FLAG, Parameter(help="forget what the job did before; asks first")] = False
    yes: Annotated[bool, FLAG, Parameter(help="do not ask")] = False
    append: Annotated[bool, FLAG, Parameter(help="add to an output file that is there")] = False
    overwrite: Annotated[bool, FLAG, Parameter(help="replace an output file that is there")] = False
    cache: Annotated[bool, FLAG, Parameter(help="keep replies for a day, while a spider is written")] = False
    revisit: Annotated[
        str | None,
        Parameter(help="visit pages again after so long, as 1d, or 1h-7d by their changes; without end"),
    ] = None
    folder: Folder = None
    processes: Annotated[int, Parameter(name=["-j", "--processes"], help="engines, each a process of its own")] = 1


@Parameter(name="*")
@dataclass(frozen=True)
class Stop:
    """When this invocation stops; the same command goes on."""

    max_pages: Annotated[int | None, Parameter(help="stop after so many pages")] = None
    max_items: Annotated[int | None, Parameter(help="stop after so many items")] = None
    max_bytes: Annotated[str | None, Parameter(help="stop after so many body bytes, as 500k or 2GiB")] = None
    max_time: Annotated[str | None, Parameter(help="stop after so long, as 90s, 15m or 2h")] = None


@Parameter(name="*")
@dataclass(frozen=True)
class Shown:
    """What is shown on stderr."""

    progress: Annotated[bool | None, Parameter(help="a live display on a terminal, lines elsewhere")] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Parameter(help="least level logged")] = "info"
    log_format: Annotated[Literal["text", "json"], Parameter(help="lines, or one JSON object a line")] = "text"
    profile: Annotated[bool, FLAG, Parameter(help="measure where the time goes, and say what limits the crawl")] = False
    debug: Annotated[bool, FLAG, Parameter(help="log everything, and name callbacks that hold up the loop")] = False


_JOB, _STOP, _SHOWN = Job(), Stop(), Shown()


def crawl(spider: str, /, *, job: Job = _JOB, stop: Stop = _STOP, shown: Shown = _SHOWN) -> int:
    """Crawl, or go on where an earlier crawl of the same job stopped.

    Parameters
    ----------
    spider
        a name from ./spiders, file.py[:Class], package.module[:Class], or the URL of a site
    """
    line = LINE.get()
    if shown.profile:
        stages.begin()  # before anything is made that would be measured
    prepared = _prepared(spider, job, _limits(stop), line)
    view = View(shown.progress, shown.log_level, shown.log_format, shown.debug)
    try:
        if line is None:
            return to_the_end(prepared, view).exit_code
        return serve(prepared, view, line, processes=job.processes)
    except BrokenPipeError:
        stdout.discard()
        stdout.complain("stopped: nobody reads standard output any more; run the same command again to go on\n")
        return STOPPED


def _prepared(text: str, job: Job, limits: Limits, line: Line | None) -> Crawl:
    if job.processes < 1:
        raise ConfigError(f"-j must be at least 1, not {job.processes}")
    if line is None and job.processes > 1:
        raise ConfigError("-j needs a supervisor: on Windows, and called from a program, a crawl is one process")
    project = layers.project(os.environ)
    wanted = starter.site(text) if find.is_url(text) else find.spider_class(text, project.spiders)
    arguments = dict(layers.pairs(job.arguments, "-a"))
    spider = _built(wanted, arguments, has_seeds=bool(job.seed))
    for target in job.output:
        sink_for(target)  # a wrong one is better known before the job is begun
    own = (f"{wanted.__name__}.settings", spider.settings)
    crawl = Crawl(
        spider,
        output=job.output,
        job=job.job,
        folder=job.folder or project.folder,
        settings=layers.settings(own, project.layers, (*job.settings, *_shorthands(job))),
        seeds=job.seed,
        fresh=job.fresh,
        existing=_existing(job),
        limits=limits,
    )
    if line is not None and line.role.part is not None:
        crawl.join(line.role.part, elapsed=line.role.elapsed, prints=not line.role.index)
    elif job.fresh:
        _confirm_loss(crawl, yes=job.yes)
    if line is not None:
        crawl.supervise(os.getppid(), job.processes, line.count_bytes)
    return crawl


def _shorthands(job: Job) -> list[str]:
    """Settings that have options of their own."""
    return [*(["cache_for=1d"] if job.cache else []), *([f"revisit={job.revisit}"] if job.revisit else [])]


def _built(wanted: type[Spider], arguments: dict[str, str], *, has_seeds: bool) -> Spider:
    with loading.AuthorsCode(partial(loading.where, wanted), loading.folder_of(wanted)):
        spider = build(wanted, arguments)
        check(spider, has_seeds=has_seeds)
    return spider


def _existing(job: Job) -> Existing:
    if job.append and job.overwrite:
        raise ConfigError("--append and --overwrite exclude each other")
    if job.append:
        return "append"
    is_own = job.fresh and not job.output  # what a job's folder holds is what it is told to forget
    return "overwrite" if job.overwrite or is_own else "refuse"


def _limits(stop: Stop) -> Limits:
    return Limits(
        _positive("--max-pages", stop.max_pages, int),
        _positive("--max-items", stop.max_items, int),
        _positive("--max-bytes", stop.max_bytes, parse_size),
        _positive("--max-time", stop.max_time, parse_duration),
    )


def _positive(option: str, value: str | int | None, reading: Callable[[str], Number]) -> Number | None:
    if value is None:
        return None
    try:
        number = reading(str(value))
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None
    if number <= 0:
        raise ConfigError(f"{option} must be more than 0, not {value}")
    return number


def _confirm_loss(crawl: Crawl, *, yes: bool) -> None:
    """Ask before a job's pages and items are deleted. Raises ConfigError unless the answer is yes."""
    loss = held(crawl.folder)
    if loss is None or yes:
        return
    what = f"{words.count(loss.pages, 'page')} and {words.count(loss.items, 'item')} of job {crawl.job}"
    if not sys.stdin.isatty():
        raise ConfigError(f"--fresh deletes {what}: pass --yes as well, since nobody can be asked here")
    stdout.complain(f"this deletes {what}; sure? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConfigError("nothing was deleted")
