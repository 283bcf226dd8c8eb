"""Bytes that wait on a disk of this host: in ``TMPDIR``, without a name, gone with the process."""

from typing import IO


def spool_file() -> IO[bytes]:
    """An empty file to write and read. The caller closes it. Raises ``OSError``."""
    import tempfile  # a tenth of what a short command imports

    return tempfile.TemporaryFile(prefix="mover-")
