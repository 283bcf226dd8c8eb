"""The command lines of the fleet's benchmarks; ``bench.__main__`` has the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import fleet, fleet_floor, fleet_listing, fleet_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

KIB = 1024
MIB = 1024 * KIB
FLEET_LOADS = ("small", "large", "large-to-disk", "floor", "rate")


def add_fleet_commands(commands: Commands) -> None:
    """Add ``fleet`` and ``listing`` to the benchmark's command line."""
    fleets = commands.add_parser("fleet", help="copy with 1, 2, 4 and 8 workers from a slow store")
    fleets.add_argument(
        "loads", nargs="*", choices=[[], *FLEET_LOADS], metavar="|".join(FLEET_LOADS)
    )
    fleets.add_argument("--workers", default="1,2,4,8", help="numbers of workers, by commas")
    fleets.add_argument("--objects", type=int, default=5000)
    fleets.add_argument("--concurrency", type=int, default=4, help="requests a worker and store")
    fleets.add_argument("--large-mib", type=int, default=8192)
    fleets.add_argument("--part-mib", type=int, default=5)
    fleets.add_argument("--disk-part-kib", type=int, default=512, help="the same for large-to-disk")
    fleets.add_argument("--lanes", type=int, default=1, help="parts a worker has in memory")
    fleets.add_argument("--rate-mb", type=int, default=50, help="the limit of rate, in MB/s")
    fleets.add_argument("--seconds", type=float, default=30.0, help="how long rate looks")
    listings = commands.add_parser("listing", help="plan a flat prefix, cut into ranges or not")
    listings.add_argument("--keys", default="100000,1000000", help="numbers of keys, by commas")
    listings.add_argument("--ranges", default="1,8", help="numbers of ranges, by commas")
    listings.add_argument("--workers", type=int, default=2)
    for parser in (fleets, listings):
        parser.add_argument("--latency", type=float, default=20.0, help="milliseconds an answer")
        parser.add_argument("--repeats", type=int, default=1)


def scale_fleet(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """Run the loads that were asked for, and return their tables."""
    crews = _numbers(arguments.workers)
    large_bytes, part_bytes = arguments.large_mib * MIB, arguments.part_mib * MIB
    loads = {
        "small": fleet.small_objects(arguments.objects, concurrency=arguments.concurrency),
        "large": fleet.large_object(large_bytes, part_bytes=part_bytes, lanes=arguments.lanes),
        "large-to-disk": fleet.large_object(
            large_bytes,
            part_bytes=arguments.disk_part_kib * KIB,
            lanes=arguments.lanes,
            to_disk=True,
        ),
    }
    tables = []
    for name in arguments.loads or FLEET_LOADS[:2]:
        if name == "floor":
            table = fleet_floor.floor(
                large_bytes,
                part_bytes=part_bytes,
                crews=crews,
                latency_ms=arguments.latency,
                tell=tell,
            )
        elif name == "rate":
            table = fleet_rate.hold(
                crews, rate_per_s=arguments.rate_mb * 10**6, seconds=arguments.seconds, tell=tell
            )
        else:
            table = fleet.scale(
                loads[name],
                crews=crews,
                latency_ms=arguments.latency,
                repeats=arguments.repeats,
                tell=tell,
            )
        tables.append(table)
    return "\n".join(tables)


def scale_listing(arguments: argparse.Namespace, tell: Callable[[str], None]) -> str:
    """List with the numbers of keys and ranges that were asked for, and return a table."""
    return fleet_listing.compare(
        _numbers(arguments.keys),
        ranges=_numbers(arguments.ranges),
        workers=arguments.workers,
        latency_ms=arguments.latency,
        repeats=arguments.repeats,
        tell=tell,
    )


def _numbers(text: str) -> tuple[int, ...]:
    """Numbers by commas. Raises ``ValueError``."""
    numbers = tuple(int(part) for part in text.split(","))
    if min(numbers) < 1:
        raise ValueError(f"numbers must be at least 1: {text}")
    return numbers
