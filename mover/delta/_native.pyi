from collections.abc import Callable
from typing import Final

from typing_extensions import Buffer

OP_BYTES: Final = 32

def levels() -> tuple[str, ...]: ...
def sign(
    data: Buffer,
    block: int,
    strong_bytes: int,
    seed: int,
    *,
    key_bytes: int = 8,
    digests: bool = True,
    level: str = "",
) -> tuple[bytes, bytes, bytes]: ...
def digest(data: Buffer, seed: int = 0, *, level: str = "") -> bytes: ...

class Index:
    def __init__(
        self,
        size: int,
        block: int,
        strong_bytes: int,
        seed: int,
        anchors: bytes,
        keys: bytes,
        digests: bytes,
        *,
        key_bytes: int = 8,
        equal: Callable[[int, bytes], bool] | None = None,
        level: str = "",
    ) -> None: ...
    @property
    def memory_bytes(self) -> int: ...
    def scan(
        self, data: Buffer, base: int, start: int, stop: int
    ) -> tuple[bytes, tuple[int, int, int]]: ...

def join(ops: bytearray) -> bytes: ...
def differ(
    old: Buffer, changed: Buffer, width: int, subtract: bool
) -> tuple[bytes, tuple[bytes, ...]]: ...
def change(data: bytearray, width: int, subtract: bool, gaps: bytes, planes: bytes) -> None: ...
