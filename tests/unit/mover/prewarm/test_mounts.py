import pytest

from mover.prewarm.model import Judge
from mover.prewarm.mounts import Mount, mount_of, mounts_of, natural_judge

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
25 22 0:23 / /dev/shm rw,relatime shared:3 - tmpfs tmpfs rw
40 22 0:39 / /mnt/my\\040jfs rw - fuse.juicefs JuiceFS:vol rw,max_read=131072
41 22 0:40 / /mnt/alluxio rw - fuse.alluxio-fuse alluxio rw
42 22 0:41 / /mnt/nfs rw - nfs4 server:/x rw
43 42 0:42 / /mnt/nfs rw - fuse s3fs rw
44 22 0:43 / /mnt/\\377raw rw - ext4 /dev/sdb rw
a line of another form
"""


def test_every_line_of_the_known_form_is_a_mount() -> None:
    assert mounts_of(MOUNTINFO)[:3] == [
        Mount("/", "ext4", "/dev/vda"),
        Mount("/dev/shm", "tmpfs", "tmpfs"),
        Mount("/mnt/my jfs", "fuse.juicefs", "JuiceFS:vol"),
    ]
    assert mounts_of(MOUNTINFO)[-1].point == "/mnt/\udcffraw"


@pytest.mark.parametrize(
    ("path", "kind", "judge"),
    [
        ("/home/a", "ext4", Judge.PAGES),
        ("/mnt/my jfs", "fuse.juicefs", Judge.JUICEFS),
        ("/mnt/my jfs/a/b", "fuse.juicefs", Judge.JUICEFS),
        ("/mnt/my jfs-not", "ext4", Judge.PAGES),
        ("/mnt/alluxio/t", "fuse.alluxio-fuse", Judge.TIMED),
        # Of two on one point the last covers the first.
        ("/mnt/nfs/t", "fuse", Judge.TIMED),
        ("/dev/shm/x", "tmpfs", Judge.PAGES),
    ],
)
def test_the_deepest_mount_holds_a_path_and_names_its_judge(
    path: str, kind: str, judge: Judge
) -> None:
    mount = mount_of(path, mounts_of(MOUNTINFO))
    assert mount is not None
    assert mount.kind == kind
    assert natural_judge(mount) is judge


def test_without_mounts_nothing_holds_a_path() -> None:
    assert mount_of("/a", []) is None
    assert natural_judge(None) is Judge.PAGES
