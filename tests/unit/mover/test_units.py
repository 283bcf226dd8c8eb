"""Sizes, rates, durations, instants and timetables, as tables."""

import datetime
import zoneinfo

import pytest

from mover.units import (
    Malformed,
    Timetable,
    format_bytes,
    format_duration,
    format_rate,
    parse_duration,
    parse_rate,
    parse_request_rate,
    parse_size,
    parse_when,
)

NOW_S = 1_700_000_000.0
MIB = 1024**2


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1", 1),
        ("4096", 4096),
        ("7b", 7),
        ("8MiB", 8 * MIB),
        ("8mib", 8 * MIB),
        ("8M", 8 * MIB),
        ("64k", 65_536),
        ("64KB", 64_000),
        ("1.5GB", 1_500_000_000),
        ("0.5KiB", 512),
        (" 5 MB ", 5_000_000),
        ("7EiB", 7 * 1024**6),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes_are_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "0", "0MiB", "-1", "+1", "1.2.3", "8 miles", "1e9", "MiB", "1.0001k", "8EiB", "٣", "1_000"]
    + ["nan", "inf", "0x10", "1 2", "9" * 400, "8MiB\n8"],
)
def test_other_sizes_are_refused_in_one_line_with_value_and_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"--min-size '.*' cannot be used: .+") as caught:
        parse_size(text, what="--min-size")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "rate_bytes_per_s"),
    [
        ("50MB/s", 50e6),
        ("60MiB/s", 60 * MIB),
        ("10M", 10 * MIB),
        ("5B/s", 5),
        ("1.5KiB/s", 1536),
        ("100Mbit/s", 12.5e6),
        ("1Gbps", 125e6),
    ],
)
def test_rates_are_read(text: str, rate_bytes_per_s: float) -> None:
    assert parse_rate(text) == rate_bytes_per_s


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("500", "500B/s"),
        ("500/s", "500MiB/s"),
        ("50Mb/s", "MB/s or Mbit/s"),
        ("50mb/s", "MB/s or Mbit/s"),
        ("0MB/s", "at least 1B/s"),
        ("4bit/s", "at least 1B/s"),
        ("-5MB/s", "as in 50MiB/s"),
        ("50MB/min", "as in 50MiB/s"),
        ("fast", "as in 50MiB/s"),
        ("", "as in 50MiB/s"),
        ("99999EiB/s", "leave it out"),
    ],
)
def test_other_rates_are_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_rate(text)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(("text", "rate"), [("500/s", 500.0), ("30/min", 0.5), ("0.5/s", 0.5)])
def test_request_rates_are_read(text: str, rate: float) -> None:
    assert parse_request_rate(text) == rate


@pytest.mark.parametrize("text", ["500", "0/s", "-1/s", "5MB/s", "1/day", ""])
def test_other_request_rates_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="request rate"):
        parse_request_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("2h", 7_200),
        ("1d12h", 129_600),
        ("1.5h", 5_400),
        ("250ms", 0.25),
        ("5m", 300),
        ("5min", 300),
        ("5m3ms", 300.003),
        ("1w2d3h4m5s6ms", 788_645.006),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "0s", "0d0h", "12h1d", "1h1h", "-3s", "3 s", "1y", "s"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "when_ns"),
    [
        ("2h", 1_699_992_800 * 10**9),
        ("0s", 1_700_000_000 * 10**9),
        ("1970-01-01", 0),
        ("1970-01-02", 86_400 * 10**9),
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01t00:00:01z", 10**9),
        ("1970-01-01 00:01", 60 * 10**9),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:00.123456789Z", 123_456_789),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_instants_are_read_to_the_nanosecond(text: str, when_ns: int) -> None:
    assert parse_when(text, NOW_S) == when_ns


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-02-30", "2026-1-2", "2026-01-01T25:00", "20260101", "12:00"]
)
def test_other_instants_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="--newer"):
        parse_when(text, NOW_S, what="--newer")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (150 * 1024, "150 KiB"),
        (MIB - 1, "1.0 MiB"),
        (2.5 * 1024**4, "2.5 TiB"),
        (2**63, "8.0 EiB"),
    ],
)
def test_bytes_are_written_for_people(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text
    assert format_rate(size_bytes) == f"{text}/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.00s"),
        (0.25, "0.25s"),
        (9.999, "10.0s"),
        (59.96, "1m00s"),
        (61, "1m01s"),
        (3_599.7, "1h00m"),
        (86_399, "1d00h"),
        (273_600, "3d04h"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


OFFICE = Timetable.parse("08:00,50MiB/s 19:00,off Sat-08:00,off")


@pytest.mark.parametrize(
    ("local", "rate", "next_change_s"),
    [
        ("2026-05-04T07:59:30", None, 30.0),  # a Monday; Sunday's last step still holds
        ("2026-05-04T08:00:00", 50.0 * MIB, 11 * 3600.0),
        ("2026-05-04T18:59:59.5", 50.0 * MIB, 0.5),
        ("2026-05-04T19:00:00", None, 13 * 3600.0),
        ("2026-05-08T20:00:00", None, 36 * 3600.0),  # Friday: Saturday's own step keeps it off
        ("2026-05-09T09:00:00", None, 23 * 3600.0),
        ("2026-05-10T23:00:00", None, 9 * 3600.0),  # across the end of the week
    ],
)
def test_a_timetable_holds_from_step_to_step(
    local: str, rate: float | None, next_change_s: float
) -> None:
    at = datetime.datetime.fromisoformat(local)
    assert OFFICE.rate_at(at) == rate
    assert OFFICE.next_change_s(at) == next_change_s


def test_a_change_of_clocks_counts_where_the_zone_is_known() -> None:
    # In the night to 29 March 2026 Berlin's clocks lose an hour: 13 hours on the wall are 12.
    evening = datetime.datetime(2026, 3, 28, 19, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    assert OFFICE.next_change_s(evening) == 12 * 3600.0
    assert OFFICE.next_change_s(evening.replace(tzinfo=None)) == 13 * 3600.0


@pytest.mark.parametrize(("text", "rate"), [("off", None), ("50MiB/s", 50.0 * MIB)])
def test_a_single_rate_never_changes(text: str, rate: float | None) -> None:
    at = datetime.datetime(2026, 5, 4)
    assert Timetable.parse(text).rate_at(at) == rate
    assert Timetable.parse(text).next_change_s(at) is None


def test_steps_with_one_rate_never_change() -> None:
    table = Timetable.parse("08:00,1MB/s Mon-19:00,1MB/s")
    assert table.next_change_s(datetime.datetime(2026, 5, 4)) is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "8:00,1MB/s", "24:00,off", "08:60,off", "08:00,0MB/s", "08:00,-1MB/s", "08:00,500/s"]
    + ["50MB/s off", "Foo-08:00,off", "08:00,1MB/s 08:00,off", "Mon-08:00,off mon-08:00,1MB/s"]
    + ["08:00, 1MB/s", "08:00,1MB/s;19:00,off"],
)
def test_other_timetables_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="--limit"):
        Timetable.parse(text, what="--limit")
