import csv
import errno
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crawler.errors import ConfigError, ItemError, StorageFull, StoreError, StoreUnavailable
from crawler.models import Json, StoredItem
from crawler.sinks import MustRebuild, Position, Sink, end_of, exists, sink_for, translated

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENDINGS = [".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and resource limits")


def stored(*values: object) -> list[StoredItem]:
    """Items as the journal hands them out."""
    return [
        StoredItem(seq, f"id{seq}", "item", json.dumps(value, ensure_ascii=False, separators=(",", ":")))
        for seq, value in enumerate(values, 1)
    ]


def unpacked(path: Path) -> bytes:
    """What a file says, read to its end by the tools that everybody has."""
    if path.suffix == ".gz":
        return gzip.decompress(path.read_bytes())
    return zstd.decompress(path.read_bytes()) if path.suffix == ".zst" else path.read_bytes()


def rows(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(unpacked(path).decode(), newline="")))


def write(target: Path, items: Sequence[StoredItem], *, formulas: bool = False) -> Position:
    """Write all items in one undisturbed batch."""
    sink = sink_for(str(target), formulas=formulas)
    sink.open(None)
    try:
        return sink.write(items)
    finally:
        sink.close()


class Exporter:
    """The least that follows a journal into a sink: the cursor is committed after each write, or never."""

    def __init__(self, path: Path, items: Sequence[StoredItem], position: Position | None = None) -> None:
        self.path, self.items = path, items
        self.done, self.position = 0, position
        self.rebuilt = 0
        self.sink: Sink = sink_for(str(path))
        self.open()

    def open(self) -> None:
        try:
            self.sink.open(self.position)
        except MustRebuild as order:
            self.rebuild(order)

    def rebuild(self, order: MustRebuild) -> None:
        self.done, self.position = 0, order.position
        self.rebuilt += 1
        self.sink.open(self.position)

    def batch(self, size: int, *, commit: bool = True) -> None:
        try:
            position = self.sink.write(self.items[self.done : self.done + size])
        except MustRebuild as order:
            self.rebuild(order)
            return
        if commit:
            self.done, self.position = min(self.done + size, len(self.items)), json.loads(json.dumps(position))

    def die(self, lost: float = 0.0, garbage: bytes = b"") -> None:
        """End as by a kill: of what was not committed a part had not reached the file, or never made sense."""
        self.sink.close()
        committed = self.offset()
        beyond = self.path.stat().st_size - committed
        os.truncate(self.path, committed + round(beyond * (1 - lost)))
        with self.path.open("ab") as file:
            file.write(garbage)
        self.sink = sink_for(str(self.path))
        self.open()

    def offset(self) -> int:
        offset = (self.position or {"offset": 0})["offset"]
        assert isinstance(offset, int)
        return offset

    def finish(self) -> None:
        while self.done < len(self.items):
            self.batch(5)
        self.sink.close()


QUOTES = stored(*({"n": n, "text": f"“{n}” é\nß", "tags": ["a", {"b": n}]} for n in range(20)))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("crash_at", range(5))
def test_a_batch_whose_cursor_was_lost_is_written_once(tmp_path: Path, ending: str, crash_at: int) -> None:
    """A kill between a batch's bytes and its cursor leaves each item in the file once, whichever batch it was."""
    write(tmp_path / f"undisturbed{ending}", QUOTES)
    exporter = Exporter(tmp_path / f"items{ending}", QUOTES)
    for _ in range(crash_at):
        exporter.batch(4)
    exporter.batch(3, commit=False)
    exporter.die()
    exporter.finish()
    assert unpacked(exporter.path) == unpacked(tmp_path / f"undisturbed{ending}")
    assert exporter.rebuilt == 0


fates = st.tuples(st.integers(1, 4), st.booleans(), st.floats(0, 1), st.binary(max_size=9))
fields = st.dictionaries(
    st.sampled_from(["a", "b", "=c", "é"]), st.none() | st.text(max_size=4) | st.integers(), max_size=3
)


@pytest.mark.parametrize("ending", ENDINGS)
@given(values=st.lists(fields, max_size=12), story=st.lists(fates, max_size=8))
@settings(max_examples=30, deadline=None)
def test_any_story_of_kills_and_torn_tails_ends_in_the_undisturbed_file(
    ending: str, values: list[dict[str, Json]], story: list[tuple[int, bool, float, bytes]]
) -> None:
    """Whatever batches, kills, tails torn at any byte and new columns there were, the file says what one batch says."""
    with tempfile.TemporaryDirectory() as folder:
        items = stored(*values)
        write(Path(folder) / f"undisturbed{ending}", items)
        exporter = Exporter(Path(folder) / f"items{ending}", items)
        for size, committed, lost, garbage in story:
            exporter.batch(size, commit=committed)
            if not committed:
                exporter.die(lost, garbage)
        exporter.die()
        exporter.finish()
        assert unpacked(exporter.path) == unpacked(Path(folder) / f"undisturbed{ending}")


WRITER = """
import json, os, sys
from pathlib import Path
from crawler.models import StoredItem
from crawler.sinks import sink_for
target, cursor, end = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
done, position = json.loads(cursor.read_text()) if cursor.exists() else (0, None)
sink = sink_for(target)
sink.open(position)
while done < end:
    batch = [StoredItem(n, str(n), "item", '{"n":%d}' % n) for n in range(done, min(done + 97, end))]
    position = sink.write(batch)
    done += len(batch)
    cursor.with_suffix(".new").write_text(json.dumps([done, position]))
    os.replace(cursor.with_suffix(".new"), cursor)
"""


def done_by(cursor: Path) -> int:
    return int(json.loads(cursor.read_text())[0]) if cursor.exists() else 0


@posix
@pytest.mark.parametrize("ending", [".jsonl", ".csv.gz"])
def test_a_real_kill_loses_and_doubles_nothing(tmp_path: Path, ending: str) -> None:
    """A process killed by SIGKILL while it writes leaves a file that the next one completes exactly."""
    target, cursor = tmp_path / f"items{ending}", tmp_path / "cursor"
    command = [sys.executable, "-c", WRITER, str(target), str(cursor)]
    chance = random.Random(7)
    for _ in range(5):
        before = done_by(cursor)
        with subprocess.Popen([*command, "1000000000"]) as process:
            while done_by(cursor) < before + 97 * chance.randrange(2, 6):
                assert process.poll() is None
                time.sleep(chance.random() / 1000)
            process.kill()
    end = done_by(cursor) + 1000
    subprocess.run([*command, str(end)], check=True)
    text = unpacked(target).decode()
    found = [json.loads(line)["n"] for line in text.splitlines()] if ending == ".jsonl" else text.split()[1:]
    assert list(map(int, found)) == list(range(end))


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_is_whole_at_every_position(tmp_path: Path, ending: str) -> None:
    """Cut at any recorded position, a file is readable to its end and holds exactly the batches up to there."""
    exporter = Exporter(tmp_path / f"items{ending}", QUOTES)
    cuts = []
    for _ in range(4):
        exporter.batch(5)
        cuts.append((exporter.done, exporter.offset()))
    exporter.sink.close()
    for done, offset in reversed(cuts):
        os.truncate(exporter.path, offset)
        write(tmp_path / f"part{ending}", QUOTES[:done])
        assert unpacked(exporter.path) == unpacked(tmp_path / f"part{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_without_items_leaves_a_readable_file(tmp_path: Path, ending: str) -> None:
    """A file of no items can be unpacked, and appending to it begins it."""
    path = tmp_path / f"items{ending}"
    Exporter(path, []).finish()
    assert unpacked(path) == b""
    exporter = Exporter(path, QUOTES, end_of(str(path)))
    exporter.finish()
    write(tmp_path / f"undisturbed{ending}", QUOTES)
    assert unpacked(path) == unpacked(tmp_path / f"undisturbed{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_batch_changes_nothing(tmp_path: Path, ending: str) -> None:
    """Writing no items leaves file and position as they are."""
    exporter = Exporter(tmp_path / f"items{ending}", QUOTES)
    exporter.batch(5)
    size, position = exporter.path.stat().st_size, exporter.position
    assert exporter.sink.write([]) == position
    assert exporter.path.stat().st_size == size
    exporter.sink.close()


def test_jsonl_holds_the_journals_bytes(tmp_path: Path) -> None:
    """A line is the item's JSON byte for byte, in UTF-8, and folders on the way are made."""
    target = tmp_path / "new" / "folder" / "items.jsonl"
    bodies = ['{"n": 1.50, "s":"\\u00e9 é 🕷"}', "[1]", "{}"]
    write(target, [StoredItem(n, str(n), "item", body) for n, body in enumerate(bodies)])
    assert target.read_bytes() == "".join(f"{body}\n" for body in bodies).encode()


def test_a_lone_surrogate_stays_json(tmp_path: Path) -> None:
    """A lone surrogate, which UTF-8 cannot hold, is escaped as JSON escapes it, and is U+FFFD in CSV."""
    item = StoredItem(1, "x", "item", '{"literal":"a\ud800","escaped":"\\udc00b","pair":"\\ud83d\\ude00","\ud800":"n"}')
    write(tmp_path / "items.jsonl", [item])
    assert json.loads((tmp_path / "items.jsonl").read_text("utf-8"))["literal"] == "a\ud800"
    write(tmp_path / "items.csv", [item])
    assert rows(tmp_path / "items.csv") == [["literal", "escaped", "pair", "\ufffd"], ["a\ufffd", "\ufffdb", "😀", "n"]]


def test_csv_cells_are_as_rfc_4180_has_them(tmp_path: Path) -> None:
    """Null and missing are empty, other JSON stands as it is, text is quoted where needed, and lines end in CR LF."""
    body = '{"a":null,"b":true,"c":1.50,"d":12345678901234567890123,"e":-5,"f":[1, {"x":"y"}],"g":"q\\"u,o\\nt\\re"}'
    write(tmp_path / "items.csv", [StoredItem(1, "1", "item", body), StoredItem(2, "2", "item", '{"g":"\\u0000"}')])
    assert (tmp_path / "items.csv").read_bytes() == (
        b'a,b,c,d,e,f,g\r\n,true,1.50,12345678901234567890123,-5,"[1, {""x"":""y""}]","q""u,o\nt\re"\r\n,,,,,,\'\0\r\n'
    )


def test_a_row_of_one_empty_cell_is_still_a_row(tmp_path: Path) -> None:
    """An item whose only field is empty, or that has none, is a row that readers count."""
    write(tmp_path / "items.csv", stored({"a": None}, {}, {"a": ""}))
    assert rows(tmp_path / "items.csv") == [["a"], [""], [""], [""]]


def test_items_without_any_field_are_rows_too(tmp_path: Path) -> None:
    """Items with no field at all are blank lines until there is a column, then rows of empty cells."""
    exporter = Exporter(tmp_path / "items.csv", stored({}, {}, {"a": 1}))
    exporter.batch(2)
    assert exporter.path.read_bytes() == b"\r\n" * 3
    exporter.finish()
    assert rows(exporter.path) == [["a"], [""], [""], ["1"]]


def test_a_new_column_rebuilds_the_file(tmp_path: Path) -> None:
    """A field that the header lacks widens it for all rows, in the order in which fields first appear."""
    exporter = Exporter(tmp_path / "items.csv", stored({"b": 1, "a": 2}, {"c": 3, "a": 4}, {"d": 5, "b": 6}))
    exporter.batch(1)
    exporter.batch(1)
    assert (exporter.rebuilt, exporter.position) == (1, {"offset": 0, "start": 0, "columns": ["b", "a", "c"]})
    exporter.finish()
    assert rows(exporter.path) == [["b", "a", "c", "d"], ["1", "2", "", ""], ["", "4", "3", ""], ["6", "", "", "5"]]


def test_a_kill_while_rebuilding_is_a_kill_like_any_other(tmp_path: Path) -> None:
    """The order to rebuild may be lost or obeyed in part: the file ends the same."""
    exporter = Exporter(tmp_path / "items.csv", stored({"a": 1}, {"b": 2}, {"a": 3}))
    exporter.batch(1)
    with pytest.raises(MustRebuild):
        exporter.sink.write(exporter.items[1:2])
    exporter.die()
    exporter.batch(1)
    exporter.batch(1, commit=False)
    exporter.die(lost=0.5)
    exporter.finish()
    assert rows(exporter.path) == [["a", "b"], ["1", ""], ["", "2"], ["3", ""]]


FORMULAS = [
    ("=1+1", "'=1+1"),
    ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
    ("-2+3", "'-2+3"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t=1"),
    ("\r=1", "'\r=1"),
    ("\n=1", "'\n=1"),
    ("\0=1", "'\0=1"),
    ("-", "'-"),
    ("+49 30 1234", "'+49 30 1234"),
    ("-5\n", "'-5\n"),
    ("-٣", "'-٣"),
    ("=", "'="),
    ("-5", "-5"),
    ("+1.5e3", "+1.5e3"),
    ("-.5", "-.5"),
    ("1=1", "1=1"),
    (" =1", " =1"),
    ("'=1", "'=1"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "cell"), FORMULAS)
def test_no_cell_is_a_formula(tmp_path: Path, text: str, cell: str) -> None:
    """Text that a spreadsheet would run gets a leading quote, in the header too; all else stays as it is."""
    items = stored({"x": text, text: 1})
    write(tmp_path / "items.csv", items)
    assert rows(tmp_path / "items.csv") == [["x", cell], [cell, "1"]]
    write(tmp_path / "formulas.csv", items, formulas=True)
    assert rows(tmp_path / "formulas.csv") == [["x", text], [text, "1"]]


@pytest.mark.parametrize("body", ["[1]", '"text"', "5", "{", '{"a":NaN}'])
def test_csv_refuses_what_has_no_columns(tmp_path: Path, body: str) -> None:
    """An item that is no JSON object is refused by name, and nothing of its batch is written."""
    sink = sink_for(str(tmp_path / "items.csv"))
    sink.open(None)
    with pytest.raises(ItemError, match="item odd "):
        sink.write([*stored({"a": 1}), StoredItem(2, "odd", "item", body)])
    assert (tmp_path / "items.csv").read_bytes() == b""
    sink.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_one_writer_at_a_time(tmp_path: Path, ending: str) -> None:
    """A file that is being written is refused by its name and left alone; once it is given up it can be had."""
    target = str(tmp_path / f"items{ending}")
    first, second = sink_for(target), sink_for(target)
    first.open(None)
    position = first.write(QUOTES)
    with pytest.raises(StoreUnavailable, match=r"items\..* is being written by another process"):
        second.open(None)
    assert Path(target).stat().st_size == position["offset"]
    first.close()
    second.open(position)
    second.close()


FILLER = """
import json, resource, sys
from pathlib import Path
from crawler.errors import StorageFull
from crawler.models import StoredItem
from crawler.sinks import sink_for
target = Path(sys.argv[1])
items = [StoredItem(n, str(n), "item", line) for n, line in enumerate(sys.stdin.read().splitlines())]
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
sink = sink_for(str(target))
sink.open(None)
offset = done = 0
try:
    while done < len(items):
        offset = sink.write(items[done : done + 10])["offset"]
        done += 10
except StorageFull as error:
    print(json.dumps([offset, target.stat().st_size, done, str(error)]))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.write(items[done:])
"""


@posix
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_whole_batches(tmp_path: Path, ending: str) -> None:
    """A write that does not fit is StorageFull and cut back at once; when there is space the same items go in."""
    target, chance = tmp_path / f"items{ending}", random.Random(3)
    items = stored(*({"n": str(chance.random())} for _ in range(400)))
    command = [sys.executable, "-c", FILLER, str(target)]
    run = subprocess.run(
        command, check=True, capture_output=True, text=True, input="".join(f"{item.body}\n" for item in items)
    )
    offset, size, done, message = json.loads(run.stdout)
    assert 0 < offset == size <= 2000
    assert 0 < done < 400
    assert message == f"cannot write to {target}: File too large; free some space there, or name another target"
    write(tmp_path / f"undisturbed{ending}", items)
    assert unpacked(target) == unpacked(tmp_path / f"undisturbed{ending}")


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_on_disk_does_not_count(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write returns after the sync; when that fails, nothing of the batch stays and the same items may come again."""
    exporter = Exporter(tmp_path / f"items{ending}", QUOTES)
    exporter.batch(5)

    def broken(descriptor: int) -> None:
        assert os.fstat(descriptor).st_size > exporter.offset()
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            exporter.batch(5)
    assert exporter.path.stat().st_size == exporter.offset()
    exporter.finish()
    write(tmp_path / f"undisturbed{ending}", QUOTES)
    assert unpacked(exporter.path) == unpacked(tmp_path / f"undisturbed{ending}")


@pytest.mark.parametrize(
    ("number", "ours"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EFBIG, StorageFull),
        (errno.EROFS, StorageFull),
        (errno.EACCES, ConfigError),
        (errno.EISDIR, ConfigError),
        (errno.EIO, StoreUnavailable),
        (errno.ENOLCK, StoreUnavailable),
    ],
)
def test_the_systems_errors_become_ours(number: int, ours: type[Exception]) -> None:
    """Each error of the operating system says who must act, and where."""
    with pytest.raises(ours, match=r"cannot write to items\.csv"), translated("items.csv"):
        raise OSError(number, os.strerror(number))


def test_a_path_that_cannot_be_a_file_is_the_operators_mistake(tmp_path: Path) -> None:
    """A folder, a file in the place of a folder and a pipe are refused, naming them."""
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "file").write_text("")
    for target in ("folder.jsonl", "file/items.jsonl", "file/deep/items.jsonl"):
        with pytest.raises(ConfigError, match=target):
            sink_for(str(tmp_path / target)).open(None)


@posix
def test_a_named_pipe_is_refused(tmp_path: Path) -> None:
    """What cannot be cut back is no file sink."""
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ConfigError, match=r"pipe\.jsonl is no regular file; use -"):
        sink_for(str(tmp_path / "pipe.jsonl")).open(None)


@posix
def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    """A link that the user made leads to the file that is written."""
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    write(tmp_path / "link.jsonl", stored({"a": 1}))
    assert (tmp_path / "elsewhere.jsonl").read_text() == '{"a":1}\n'


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("harm", ["deleted", "emptied", "shortened"])
@pytest.mark.parametrize("when", ["between runs", "while open"])
def test_a_file_that_lost_items_is_written_anew(tmp_path: Path, ending: str, harm: str, when: str) -> None:
    """A file shorter than its position is rebuilt from the first item, also when that is noticed while writing."""
    exporter = Exporter(tmp_path / f"items{ending}", QUOTES)
    exporter.batch(5)
    if when == "between runs":
        exporter.sink.close()
    if harm == "deleted":
        exporter.path.unlink()
    else:
        os.truncate(exporter.path, 0 if harm == "emptied" else exporter.offset() - 1)
    if when == "between runs":
        exporter.open()
    exporter.finish()
    write(tmp_path / f"undisturbed{ending}", QUOTES)
    assert exporter.rebuilt == 1
    assert unpacked(exporter.path) == unpacked(tmp_path / f"undisturbed{ending}")


@pytest.mark.parametrize("when", ["between runs", "while open"])
def test_a_file_that_others_changed_is_not_touched(tmp_path: Path, when: str) -> None:
    """What another program put in the file's place is neither cut nor overwritten: the operator decides."""
    exporter = Exporter(tmp_path / "items.jsonl", QUOTES)
    exporter.batch(5)
    if when == "between runs":
        exporter.sink.close()
    mine = exporter.path.read_bytes().replace(b'"n":0', b'"number":0') + b"more\n"
    (tmp_path / "edited").write_bytes(mine)
    (tmp_path / "edited").replace(exporter.path)
    with pytest.raises(ConfigError, match="was changed by another program"):
        exporter.open() if when == "between runs" else exporter.batch(5)
    assert exporter.path.read_bytes() == mine
    exporter.sink.close()


def foreign(path: Path, text: str) -> bytes:
    data = text.encode()
    packing = path.suffix
    path.write_bytes(gzip.compress(data) if packing == ".gz" else zstd.compress(data) if packing == ".zst" else data)
    return data


@pytest.mark.parametrize("ending", ENDINGS)
def test_appending_keeps_what_was_there(tmp_path: Path, ending: str) -> None:
    """Items go after a foreign file's lines, under its own header, and no kill or lost tail touches those."""
    path = tmp_path / f"items{ending}"
    head = foreign(path, '\ufefftext,\'=n\r\n"old\n",1\r\n' if ".csv" in ending else '{"old":1}\n')
    exporter = Exporter(path, stored({"=n": 1}, {"text": "two"}, {"=n": 3, "text": "three"}), end_of(str(path)))
    exporter.batch(1)
    exporter.batch(1, commit=False)
    exporter.die(lost=0.5)
    exporter.sink.close()
    os.truncate(path, exporter.offset() - 1)
    exporter.open()
    assert exporter.rebuilt == 1
    exporter.finish()
    tail = ",1\r\ntwo,\r\nthree,3\r\n" if ".csv" in ending else '{"=n":1}\n{"text":"two"}\n{"=n":3,"text":"three"}\n'
    assert unpacked(path) == head + tail.encode()


def test_a_foreign_file_that_lost_lines_is_not_touched(tmp_path: Path) -> None:
    """When the part before this run is damaged too, nothing can be rebuilt: the operator decides."""
    path = tmp_path / "items.jsonl"
    foreign(path, '{"old":1}\n')
    exporter = Exporter(path, QUOTES, end_of(str(path)))
    exporter.batch(5)
    exporter.sink.close()
    os.truncate(path, 4)
    with pytest.raises(ConfigError, match="was changed"):
        exporter.open()
    assert path.read_bytes() == b'{"ol'


def test_a_foreign_table_gets_no_new_column(tmp_path: Path) -> None:
    """A header that others wrote is not widened, since their rows are not in the journal."""
    path = tmp_path / "items.csv"
    head = foreign(path, "a,b\n1,2\n")
    exporter = Exporter(path, stored({"a": 3}, {"c": 4}), end_of(str(path)))
    with pytest.raises(ConfigError, match=r"items\.csv has no column 'c': write to another file"):
        exporter.batch(2)
    assert path.read_bytes() == head
    exporter.batch(1)
    assert path.read_bytes() == head + b"3,\r\n"
    exporter.sink.close()


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_appended_to_a_torn_line(tmp_path: Path, ending: str) -> None:
    """A file that ends within a line would get a line of two halves, so it is refused."""
    foreign(tmp_path / f"items{ending}", "a\nb")
    with pytest.raises(ConfigError, match="ends within a line"):
        end_of(str(tmp_path / f"items{ending}"))


@pytest.mark.parametrize("ending", [".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize("data", [b"no such thing\n", None])
def test_nothing_is_appended_to_a_damaged_archive(tmp_path: Path, ending: str, data: bytes | None) -> None:
    """What does not unpack to its end would hide all that is appended, so it is refused."""
    path = tmp_path / f"items{ending}"
    foreign(path, '{"old":1}\n' * 9)
    path.write_bytes(path.read_bytes()[:-2] if data is None else data)
    with pytest.raises(ConfigError, match="does not unpack to its end"):
        end_of(str(path))


def test_only_what_would_be_lost_exists(tmp_path: Path) -> None:
    """A missing or empty file may be begun anew; anything else is there, and can be appended to or not."""
    target = tmp_path / "items.csv"
    assert (exists(str(target)), end_of(str(target))) == (False, {"offset": 0})
    assert exists("-") is False
    assert end_of("-") == {}
    target.touch()
    assert (exists(str(target)), end_of(str(target))) == (False, {"offset": 0})
    assert exists(str(target / "below")) is False
    target.write_text("a\n")
    assert exists(str(target)) is True
    assert exists(str(tmp_path)) is True


def test_beginning_anew_empties_the_file(tmp_path: Path) -> None:
    """Opened without a position, a file holds nothing but what is written from then on."""
    (tmp_path / "items.jsonl").write_text("old\n")
    write(tmp_path / "items.jsonl", stored({"a": 1}))
    assert (tmp_path / "items.jsonl").read_text() == '{"a":1}\n'


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("items.json", r"use \.jsonl"),
        ("items.json.gz", r"use \.jsonl"),
        ("items.xlsx", "names no format; there is a file ending in .jsonl"),
        ("items", "names no format"),
        ("items.gz", "names no format"),
        ("items.jsonl.bz2", "names no format"),
        ("", "names no format"),
        ("s3://bucket/items.jsonl", "no sink for URLs of this kind"),
        ("file:///tmp/items.jsonl", "no sink for URLs of this kind"),
        ("a\x1b[2J", r"a\\x1b"),
    ],
)
def test_an_unknown_target_is_told_what_there_is(target: str, message: str) -> None:
    """A target that no sink takes is refused before anything is opened, with what would be right."""
    with pytest.raises(ConfigError, match=message):
        sink_for(target)


@pytest.mark.parametrize("name", ["items.ndjson", "ITEMS.JSONL.GZ", "a.b.csv.zst", "items v1.csv"])
def test_a_known_ending_is_enough(tmp_path: Path, name: str) -> None:
    """The ending alone chooses format and packing, in any case of letters."""
    write(tmp_path / name, stored({"a": 1}))
    assert (tmp_path / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ('{"a":1}', '{"_id":"x\\"y","a":1}'),
        ("{}", '{"_id":"x\\"y"}'),
        ('{ "a": 1 }', '{"_id":"x\\"y","a": 1 }'),
        ('{"a":{"_id":1}}', '{"_id":"x\\"y","a":{"_id":1}}'),
        ('{"a":1,"_id":2}', '{"a":1,"_id":2}'),
        ("[1]", "[1]"),
    ],
)
def test_standard_output_names_each_item(capfdbinary: pytest.CaptureFixture[bytes], body: str, line: str) -> None:
    """Each line on standard output begins with the item's id, unless it has an ``_id`` of its own."""
    sink = sink_for("-")
    sink.open({"anything": 1})
    assert sink.write([StoredItem(1, 'x"y', "item", body)]) == {}
    assert capfdbinary.readouterr().out == f"{line}\n".encode()
    sink.close()


PRINTER = """
import os, sys
from crawler.models import StoredItem
from crawler.sinks import sink_for
sink = sink_for("-")
sink.open(None)
try:
    while True:
        sink.write([StoredItem(n, str(n), "item", "{}") for n in range(1000)])
except BrokenPipeError:
    os._exit(7)
"""


def test_a_closed_pipe_is_not_an_error_of_the_store() -> None:
    """When the reader of standard output goes, BrokenPipeError tells the caller so."""
    with subprocess.Popen([sys.executable, "-c", PRINTER], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'{"_id":"0"}\n'
        process.stdout.close()
        assert process.wait(10) == 7


def test_errors_name_the_failure_without_the_terminals_codes() -> None:
    """A target's name is escaped wherever it is shown."""
    with pytest.raises(StoreError, match=r"a\\x1b\.csv"), translated("a\x1b.csv"):
        raise OSError(errno.EIO, "Input/output error")
