"""Whether a directory lies where SQLite's write-ahead log is safe: not on a network."""

from __future__ import annotations

from pathlib import Path

from mergeit_async.errors import UsageError

MOUNTS = Path("/proc/self/mounts")
# Shared memory between processes, which the log's index needs, does not reach other machines.
NETWORK_TYPES = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.blobfuse2",
        "fuse.davfs",
        "fuse.gcsfuse",
        "fuse.juicefs",
        "fuse.mount-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)


def refuse_network(path: Path) -> None:
    """Raise `UsageError` when `path` is on a network file system."""
    kind = file_system_of(path, MOUNTS)
    if kind in NETWORK_TYPES:
        raise UsageError(
            f"{path} is on a network file system ({kind}), where the journal can be damaged; "
            "choose a local --out, or take the risk with --allow-network-fs."
        )


def file_system_of(path: Path, mounts: Path) -> str | None:
    """The type of the file system that holds `path` or will hold it; None where nobody tells."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    points = [line.split(" ")[1:3] for line in lines if line.count(" ") >= 2]
    there = path.resolve()
    # Later mounts hide earlier ones at the same place.
    holding = [
        (len(point), place, kind)
        for place, (point, kind) in enumerate(points)
        if there.is_relative_to(unescaped(point))
    ]
    return max(holding)[2] if holding else None


def unescaped(point: str) -> str:
    """A mount point as it is; white space is written as octal escapes in that file."""
    for escape, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        point = point.replace(escape, character)
    return point
