"""Which requests a rule strikes."""

from __future__ import annotations

import pytest

from tests.faults.script import Answer, Latency, Rule, Script, error_body


def struck(script: Script, requests: list[tuple[str, str]]) -> list[int]:
    return [
        number
        for number, (method, target) in enumerate(requests, start=1)
        if script.choose(method=method, target=target)
    ]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param(Rule(fault=Answer()), [1, 2, 3, 4, 5], id="every request"),
        pytest.param(Rule(fault=Answer(), method="PUT"), [2, 4], id="one method"),
        pytest.param(Rule(fault=Answer(), method="PUT|HEAD"), [2, 4, 5], id="two methods"),
        pytest.param(Rule(fault=Answer(), path="/b/x$"), [1], id="a path"),
        pytest.param(Rule(fault=Answer(), path=r"partNumber=2"), [4], id="a query"),
        pytest.param(Rule(fault=Answer(), method="PUT", nth={2}), [4], id="the second PUT"),
        pytest.param(Rule(fault=Answer(), nth=range(2, 4)), [2, 3], id="a storm"),
        pytest.param(Rule(fault=Answer(), probability=0.0), [], id="never"),
    ],
)
def test_a_rule_strikes_what_matches_all_its_conditions(rule: Rule, expected: list[int]) -> None:
    requests = [
        ("GET", "/b/x"),
        ("PUT", "/b/y?partNumber=1"),
        ("GET", "/b/z"),
        ("PUT", "/b/y?partNumber=2"),
        ("HEAD", "/b/y"),
    ]
    assert struck(Script([rule], seed=1), requests) == expected


def test_chance_repeats_with_the_seed_and_not_with_another() -> None:
    requests = [("GET", "/b/x")] * 1000
    rule = Rule(fault=Answer(), probability=0.1)
    first = struck(Script([rule], seed=7), requests)
    assert first == struck(Script([rule], seed=7), requests)
    assert first != struck(Script([rule], seed=8), requests)
    assert 60 < len(first) < 140


def test_chance_of_one_kind_of_request_does_not_hang_on_another_kind() -> None:
    rule = Rule(fault=Answer(), method="GET", probability=0.3)
    gets = [("GET", "/b/x")] * 50
    mixed = [pair for get in gets for pair in (("PUT", "/b/y"), get)]
    alone = struck(Script([rule], seed=3), gets)
    assert [number * 2 for number in alone] == struck(Script([rule], seed=3), mixed)


def test_faults_of_several_rules_come_together() -> None:
    script = Script([Rule(fault=Latency(delay_s=1)), Rule(fault=Answer(), nth={2})], seed=0)
    assert script.choose(method="GET", target="/") == [Latency(delay_s=1)]
    assert script.choose(method="GET", target="/") == [Latency(delay_s=1), Answer()]


def test_error_body_is_xml_whatever_the_key() -> None:
    body = error_body(Answer(code="InternalError"), target="/b/a&b<c?versionId=1")
    assert b"<Code>InternalError</Code>" in body
    assert b"<Resource>/b/a&amp;b&lt;c</Resource>" in body
