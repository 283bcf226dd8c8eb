"""The tries of one call: when to try again, how long to wait before, when to give up."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from transports.errors import TimedOut, Transient, TransportError, Unavailable
from transports.retry_policy import RetryPolicy

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
OnRetry = Callable[[str, TransportError, float], None]
"""Told of each retry: the verb, the error, and the seconds that will be waited."""


class Patient(Protocol):
    """What tries need to know of the decorator that they belong to."""

    location: str
    policy: RetryPolicy
    rng: random.Random
    clock: Callable[[], float]
    sleep: Sleep
    on_retry: OnRetry | None
    settled: bool


class Tries:
    """The tries of one call: counts them, and waits or gives up."""

    def __init__(self, retry: Patient, verb: str) -> None:
        self._retry = retry
        self._verb = verb
        self._started_s = retry.clock()
        self._failures = 0
        self._first_failure_s = 0.0
        self._lies: Counter[int] = Counter()  # by place in the batch

    def progressed(self) -> None:
        """What was got is kept: the next failure is a first one."""
        self._failures = 0
        self._retry.settled = True

    async def patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """Run a call, and cut it off when a store that never answered has had its time."""
        if self._retry.settled:
            return await call()
        patience_s = self._retry.policy.patience_s
        left_s = max(1.0, patience_s - (self._retry.clock() - self._started_s))
        try:
            async with asyncio.timeout(left_s):
                return await call()
        except TimeoutError:
            detail = f"no answer within {patience_s:g} s"
            raise TimedOut(self._retry.location, detail) from None

    async def failed(self, error: TransportError, *, fresh: bool = False) -> None:
        """Wait until the call may be tried again, or raise ``error``."""
        again = self.sift([(0, error, fresh)])
        if not again:
            raise error
        await self._retry.sleep(again[0])

    def sift(self, failed: Iterable[tuple[int, object, bool]]) -> dict[int, float]:
        """Of the failed items (place, error, fresh) those to try again, and how long they wait."""
        retry = self._retry
        now_s = retry.clock()
        self._failures += 1
        if self._failures == 1:
            self._first_failure_s = now_s
        again: dict[int, float] = {}
        for place, error, fresh in failed:
            if not isinstance(error, TransportError):
                continue
            if not isinstance(error, Transient):
                self._lies[place] += 1
            silent = isinstance(error, Unavailable | TimedOut)
            retry.settled = retry.settled or not silent
            wait_s = retry.policy.wait_s(
                error,
                failures=self._failures,
                lies=self._lies[place],
                fresh=fresh,
                rng=retry.rng,
            )
            if wait_s is None or now_s + wait_s > self._deadline_s():
                continue
            again[place] = wait_s
            if retry.on_retry is not None:
                retry.on_retry(self._verb, error, wait_s)
        return again

    def _deadline_s(self) -> float:
        policy = self._retry.policy
        if self._retry.settled:
            return self._first_failure_s + policy.deadline_s
        return self._started_s + policy.patience_s
