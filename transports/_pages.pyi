from typing import TypeVar

T = TypeVar("T", bound=tuple[object, ...])

class Form:
    def __init__(self, borders: tuple[bytes, ...], gap: bytes) -> None: ...
    def columns(
        self, data: bytes, start: int, stop: int, wanted: tuple[int, ...]
    ) -> list[list[str]] | None: ...
    def entries(
        self,
        data: bytes,
        start: int,
        stop: int,
        wanted: tuple[int, ...],
        entry: type[T],
        kind: object,
        decode: bool,
    ) -> list[T] | None: ...
