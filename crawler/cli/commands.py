"""The commands by name: where each is defined, and what it does in one line. Nothing is imported to tell."""

from typing import NamedTuple

ASKS_FOR_HELP = frozenset({"--help", "-h"})


class Command(NamedTuple):
    """``where`` is ``module:function``, imported when the command runs."""

    where: str
    help: str


COMMANDS = {
    "crawl": Command("crawler.cli.crawl:crawl", "Crawl, or go on where an earlier crawl of the same job stopped."),
    "list": Command("crawler.cli.list:list_spiders", "Show the spiders that are found here."),
    "new": Command("crawler.cli.new:new", "Write a spider to start from."),
    "demo": Command("crawler.cli.demo:demo", "Crawl a small shop that is served on this machine."),
    "status": Command("crawler.cli.status:status", "Show how far jobs are; works while they run."),
    "export": Command("crawler.cli.export:export", "Write the items of a job to another file or format."),
    "doctor": Command("crawler.cli.doctor:doctor", "Check a job's journal and its output files."),
    "politeness": Command("crawler.cli.politeness:politeness", "Show what each host was asked, and what was allowed."),
    "settings": Command("crawler.cli.settings:settings", "Show all settings with their defaults."),
}


def overview() -> str:
    """What ``crawler --help`` prints."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items())
    return (
        "Kill it at any moment, run the same command again, and nothing is lost or doubled.\n\n"
        f"Usage: crawler COMMAND [OPTIONS]\n\n{rows}\n\n"
        "crawler COMMAND --help tells more. Exit codes: 0 finished, 1 error, 2 usage, 3 finished with failed pages or\n"
        "quarantined items, 4 stopped before the end (resumable), 75 storage full or away, 130 and 143 left at once.\n"
    )
