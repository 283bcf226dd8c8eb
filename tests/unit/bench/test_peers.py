from pathlib import Path

import pytest

from bench.floor_tool import Floor
from bench.peers import PEERS, JuicefsSync, Mover, Rclone, S5cmd
from bench.scenarios import SCENARIOS, Direction, Scenario, choose
from bench.tools import Bucket, Endpoint, Errand, Folder, Tool

SECRET = "not-on-a-command-line"
BUCKETS = (Bucket(name="one"), Bucket(name="two"))
TREE = Folder(path=Path("/data/tree"))
PLACES: dict[Direction, tuple[Bucket | Folder, Bucket | Folder]] = {
    Direction.DOWN: (BUCKETS[0], TREE),
    Direction.AGAIN: (BUCKETS[0], TREE),
    Direction.UP: (TREE, BUCKETS[1]),
    Direction.ACROSS: BUCKETS,
    Direction.LISTING: BUCKETS,
}


def errand(direction: Direction, *, tls: bool = False) -> Errand:
    source, target = PLACES[direction]
    return Errand(
        direction=direction,
        source=source,
        target=target,
        endpoint=Endpoint(
            url=f"http{'s' if tls else ''}://127.0.0.1:8333",
            ca_file=Path("/data/ca.pem") if tls else None,
            environment={"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET},
        ),
        floor_port=4000,
        home=Path("/data/home"),
    )


def words(tool: Tool, direction: Direction, *, tls: bool = False) -> str:
    (scenario, *_) = [one for one in SCENARIOS if one.direction is direction]
    command = tool.command(errand(direction, tls=tls), tool.settings(scenario)[0])
    return " ".join((Path(command.argv[0]).name, *command.argv[1:]))


@pytest.mark.parametrize(
    ("tool", "direction", "expected"),
    [
        (
            Mover(),
            Direction.DOWN,
            (
                "mover copy s3://one/?endpoint_url=http://127.0.0.1:8333&region=us-east-1 "
                "/data/tree/ --json"
            ),
        ),
        (
            Mover(),
            Direction.LISTING,
            (
                "mover check s3://one/?endpoint_url=http://127.0.0.1:8333&region=us-east-1 "
                "s3://two/?endpoint_url=http://127.0.0.1:8333&region=us-east-1 --json"
            ),
        ),
        (
            S5cmd(),
            Direction.DOWN,
            (
                "s5cmd --endpoint-url http://127.0.0.1:8333 --log error --numworkers 64 "
                "cp s3://one/* /data/tree/"
            ),
        ),
        (
            S5cmd(),
            Direction.UP,
            (
                "s5cmd --endpoint-url http://127.0.0.1:8333 --log error --numworkers 64 "
                "cp /data/tree/ s3://two/"
            ),
        ),
        (
            S5cmd(),
            Direction.AGAIN,
            (
                "s5cmd --endpoint-url http://127.0.0.1:8333 --log error --numworkers 64 "
                "sync s3://one/* /data/tree/"
            ),
        ),
        (
            Rclone(),
            Direction.ACROSS,
            (
                "rclone copy near:one far:two --fast-list --s3-no-check-bucket --quiet --stats 0 "
                "--transfers 64 --checkers 64"
            ),
        ),
        (
            Rclone(),
            Direction.AGAIN,
            (
                "rclone copy --size-only near:one /data/tree --fast-list --s3-no-check-bucket "
                "--quiet --stats 0 --transfers 64 --checkers 64"
            ),
        ),
        (
            JuicefsSync(),
            Direction.UP,
            (
                "juicefs --quiet sync --metrics 127.0.0.1:0 --threads 64 --no-https "
                "/data/tree/ s3://127.0.0.1:8333/two/"
            ),
        ),
    ],
)
def test_command_lines(
    monkeypatch: pytest.MonkeyPatch, tool: Tool, direction: Direction, expected: str
) -> None:
    monkeypatch.setattr("bench.peers.executable", lambda name, remedy: Path("/bin") / name)
    assert words(tool, direction) == expected


@pytest.mark.parametrize("tool", [Mover(), *PEERS], ids=lambda tool: tool.name)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_secret_in_any_argument_or_repr(
    monkeypatch: pytest.MonkeyPatch, tool: Tool, scenario: Scenario
) -> None:
    monkeypatch.setattr("bench.peers.executable", lambda name, remedy: Path("/bin") / name)
    assert tool.settings(scenario)
    for setting in tool.settings(scenario):
        one = errand(scenario.direction, tls=scenario.tls)
        command = tool.command(one, setting)
        assert SECRET not in " ".join(command.argv) + repr(command) + repr(one)
        assert command.environment["AWS_SECRET_ACCESS_KEY"] == SECRET


@pytest.mark.parametrize("tool", [Mover(), *PEERS], ids=lambda tool: tool.name)
def test_every_tool_trusts_the_authority_and_has_a_fresh_home(
    monkeypatch: pytest.MonkeyPatch, tool: Tool
) -> None:
    monkeypatch.setattr("bench.peers.executable", lambda name, remedy: Path("/bin") / name)
    (scenario,) = choose(("small-down-tls",))
    command = tool.command(errand(Direction.DOWN, tls=True), tool.settings(scenario)[0])
    assert command.environment["AWS_CA_BUNDLE"] == "/data/ca.pem"
    assert command.environment["SSL_CERT_FILE"] == "/data/ca.pem"
    assert command.environment["HOME"] == "/data/home"
    assert command.environment["XDG_STATE_HOME"].startswith("/data/home/")
    assert "--no-https" not in command.argv


def test_only_what_cannot_be_done_is_refused() -> None:
    refused = {
        (tool.name, scenario.name)
        for tool in (Mover(), *PEERS)
        for scenario in SCENARIOS
        if tool.refusal(scenario)
    }
    assert refused == {("s5cmd", "small-across"), ("s5cmd", "large-across")}
    taken = {one.name for one in SCENARIOS if Floor().refusal(one) is None}
    assert taken == {
        *("small-down", "small-up", "large-down", "large-up"),
        *("small-across", "large-across", "mixed-down", "mixed-up"),
    }


@pytest.mark.parametrize(
    ("stdout", "note"),
    [
        ('{"verified": {"strong": 3, "weak": 0}}\n', "strong 3, weak 0"),
        ('a line\n{"state": "done", "verified": {"none": 1}}', "none 1"),
        ("", ""),
        ("not json", ""),
        ('{"state": "done"}', ""),
    ],
)
def test_the_movers_own_report_becomes_a_note(stdout: str, note: str) -> None:
    assert Mover().note(stdout) == note
