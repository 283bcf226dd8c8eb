"""The contract suite: what every adapter is held to. It ships, so that foreign adapters can run it.

An adapter's own test file is a few lines: a subclass named ``Test...`` with a fixture ``transport``
that yields a fresh, empty, writable transport (and closes it):

    class TestMemory(TransportContract):
        @pytest.fixture
        async def transport(self) -> AsyncIterator[Transport]:
            transport = open_mine()
            yield transport
            await transport.close()

A store that cannot do everything composes the contracts that apply, instead of skipping tests:
``ListingContract`` and ``ReadingContract`` for a read-only one (it overrides ``seed``), plus
``WritingContract``, ``NamesContract``, ``UploadContract`` (multipart), ``CopyContract``
(``server_copy``), ``CopyPartContract`` (``copies_parts``) and ``ConditionalFinishContract``. A store that
can keep older versions runs ``VersionsContract`` beside them, on a root where it does. Needs pytest with pytest-asyncio in auto mode.
"""

from transports.testing.assembly import ConditionalFinishContract, CopyPartContract
from transports.testing.names import NamesContract
from transports.testing.reading import ListingContract, ReadingContract
from transports.testing.support import Subject, blob, contents, listed, put
from transports.testing.uploads import CopyContract, UploadContract
from transports.testing.versions import VersionsContract
from transports.testing.writing import WritingContract


class TransportContract(
    ListingContract,
    ReadingContract,
    WritingContract,
    NamesContract,
    UploadContract,
    CopyContract,
    CopyPartContract,
    ConditionalFinishContract,
):
    """Everything: for stores that list, read, write, take parts, copy and compare by themselves."""


__all__ = [
    "ConditionalFinishContract",
    "CopyContract",
    "CopyPartContract",
    "ListingContract",
    "NamesContract",
    "ReadingContract",
    "Subject",
    "TransportContract",
    "UploadContract",
    "VersionsContract",
    "WritingContract",
    "blob",
    "contents",
    "listed",
    "put",
]
