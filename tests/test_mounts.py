"""Which file systems a journal is refused on."""

from pathlib import Path

import pytest

from crawler.errors import ConfigError
from crawler.frontier import mounts
from crawler.frontier.mounts import network_type
from crawler.frontier.sqlite import SqliteFrontier

MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:5 / /proc rw - proc proc rw
30 22 0:40 / /mnt/share rw,relatime shared:7 master:2 - nfs4 server:/export rw,vers=4.2
31 30 0:41 / /mnt/share/local rw - xfs /dev/vdb rw
32 22 0:42 / /mnt/my\040own\134share rw - cifs //server/my\040own rw
33 22 0:43 / /home/me/remote rw - fuse.sshfs me@there: rw
34 22 0:44 / /stacked rw - nfs server:/old rw
35 22 0:45 / /stacked rw - tmpfs tmpfs rw
36 22 0:46 / /covered rw - ext4 /dev/vdc rw
37 36 0:47 / /covered rw - lustre mgs:/data rw
38 22 0:48 / /host rw - 9p host rw
39 22 0:49 / /image rw - overlay overlay rw
40 22 0:50 / /guest rw - virtiofs guest rw
41 22 0:51 / /short rw
42 22 0:52 / /ntfs rw - fuseblk /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", None),
        ("/home/me/output", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/a/b", "nfs4"),
        ("/mnt/share2", None),
        ("/mnt/share/local/job", None),
        ("/mnt/share/localhost", "nfs4"),
        (r"/mnt/my own\share/job", "cifs"),
        ("/home/me/remote/x", "fuse.sshfs"),
        ("/stacked/x", None),
        ("/covered/x", "lustre"),
        ("/host/x", None),
        ("/image/x", None),
        ("/guest/x", None),
        ("/short/x", None),
        ("/ntfs/x", None),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str | None) -> None:
    """The mount nearest to a path decides, of several on one place the last; a machine's own ones are not refused."""
    assert network_type(MOUNTS, path) == kind


def test_a_machine_without_that_table() -> None:
    """Where nothing is known of mounts nothing is refused."""
    assert network_type("", "/anything") is None


def test_a_journal_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal is refused before anything of it is made; the message names folder, type and remedy."""
    table = tmp_path / "mountinfo"
    shared = tmp_path / "shared"
    (shared / "job").mkdir(parents=True)
    (tmp_path / "link").symlink_to(shared)
    table.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda1 rw\n30 22 0:40 / {shared.resolve()} rw - nfs4 server:/ rw\n")
    monkeypatch.setattr(mounts, "MOUNTS", table)
    with pytest.raises(ConfigError, match=r"link/job lies on a network file system \(nfs4\).*--folder"):
        SqliteFrontier(tmp_path / "link" / "job" / "job.db")
    assert list((shared / "job").iterdir()) == []


def test_this_machine() -> None:
    """What the kernel says here is understood: the table's own folder lies on no network."""
    mounts.refuse_network(Path("/proc"))
    assert mounts.network_type(mounts.MOUNTS.read_text(), "/proc") is None
