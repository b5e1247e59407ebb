"""On which kind of file system a path lies: a journal's locks and shared memory hold on a machine's own ones only."""

import re
from pathlib import Path

from crawler.errors import ConfigError, escaped

MOUNTS = Path("/proc/self/mountinfo")  # see proc(5); elsewhere than on Linux there is none, and nothing is refused
_OCTAL = re.compile(r"\\([0-7]{3})")
# 9p, overlay and virtiofs are how containers and virtual machines see the disk of the one machine they run on.
_NETWORK = {
    "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs", "gpfs", "ibrix", "lustre",
    "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs",
    "fuse.afp", "fuse.beegfs", "fuse.blobfuse", "fuse.blobfuse2", "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs",
    "fuse.davfs", "fuse.dfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys", "fuse.juicefs", "fuse.mfs",
    "fuse.moosefs", "fuse.mount-s3", "fuse.nfs", "fuse.rclone", "fuse.s3fs", "fuse.s3ql", "fuse.seaweedfs",
    "fuse.smbnetfs", "fuse.sshfs", "fuse.weed",
}  # fmt: skip


def refuse_network(folder: Path) -> None:
    """Raises ConfigError for a folder on a network file system, naming both, and what to do."""
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    kind = network_type(mounts, str(folder.resolve()))
    if kind is not None:
        raise ConfigError(
            f"{escaped(str(folder), 1000)} lies on a network file system ({escaped(kind)}), where a journal could be "
            "damaged: choose a folder on a disk of this machine with --folder, and name the output with -o"
        )


def network_type(mounts: str, path: str) -> str | None:
    """The type of the network file system on which an absolute path lies; None if it lies on any other.

    `mounts` is the text of ``/proc/self/mountinfo``: the mount with the longest path counts, of equals the last.
    """
    longest, found = -1, ""
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), fields[4])
        if len(point) >= longest and _is_below(path, point):
            longest, found = len(point), after.partition(" ")[0]
    return found if found in _NETWORK else None


def _is_below(path: str, point: str) -> bool:
    return path == point or path.startswith(point.rstrip("/") + "/")
