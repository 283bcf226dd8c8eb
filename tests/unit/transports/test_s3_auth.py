"""Where credentials come from: the environment first, then botocore's chain with a side's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transports.errors import Denied
from transports.s3_auth import ChainCredentials, Credentials, StaticCredentials, credential_source

LOCATION = "s3://b/"
KEYS = {"AWS_ACCESS_KEY_ID": "ENVKEY", "AWS_SECRET_ACCESS_KEY": "envsecret"}


@pytest.fixture
def profiles(tmp_path: Path) -> dict[str, str]:
    """An environment with two profiles in files of its own, and no instance to ask."""
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = labsecret\n"
        "[default]\naws_access_key_id = DEFKEY\naws_secret_access_key = defsecret\n"
    )
    script = tmp_path / "give"
    script.write_text(
        '#!/bin/sh\necho \'{"Version": 1, "AccessKeyId": "PROCKEY", "SecretAccessKey": "p", '
        '"SessionToken": "t"}\'\n'
    )
    script.chmod(0o755)
    (tmp_path / "config").write_text(f"[profile proc]\ncredential_process = {script}\n")
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }


async def key_of(environment: dict[str, str], profile: str = "") -> str:
    source = credential_source(profile=profile, environment=environment, location=LOCATION)
    return (await source.current()).access_key_id


async def test_keys_in_the_environment_come_first(profiles: dict[str, str]) -> None:
    assert await key_of(profiles | KEYS) == "ENVKEY"
    assert await key_of(profiles | KEYS | {"AWS_PROFILE": "lab"}) == "ENVKEY"


async def test_a_profile_that_is_asked_for_outranks_them(profiles: dict[str, str]) -> None:
    assert await key_of(profiles | KEYS, "lab") == "LABKEY"


@pytest.mark.parametrize("variable", ["AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
async def test_profiles_by_variable(profiles: dict[str, str], variable: str) -> None:
    assert await key_of(profiles | {variable: "lab"}) == "LABKEY"
    assert await key_of(profiles) == "DEFKEY"


async def test_the_rest_of_the_chain_is_there(profiles: dict[str, str]) -> None:
    source = credential_source(profile="proc", environment=profiles, location=LOCATION)
    found = await source.current()
    assert (found.access_key_id, found.session_token) == ("PROCKEY", "t")
    assert await source.renewed() == found


async def test_each_side_has_its_own_environment(
    profiles: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's keys are not a side's, and no side's reach the process."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    assert await key_of(profiles) == "DEFKEY"
    assert dict(os.environ) == before


async def test_a_session_token_comes_along() -> None:
    environment = KEYS | {"AWS_SESSION_TOKEN": "tok"}
    source = credential_source(profile="", environment=environment, location=LOCATION)
    assert isinstance(source, StaticCredentials)
    assert (await source.current()).session_token == "tok"


async def test_no_credentials_are_a_denial_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    nowhere = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    with pytest.raises(Denied, match="AWS_ACCESS_KEY_ID"):
        await key_of(nowhere)
    with pytest.raises(Denied, match="nope"):
        await ChainCredentials(profile="nope", environment=nowhere, location=LOCATION).current()


def test_secrets_do_not_show() -> None:
    found = Credentials(access_key_id="AK", secret_access_key="hush", session_token="hushtoo")
    assert "hush" not in repr(found)
    assert "AK" not in found.account


def test_static_keys_import_no_botocore() -> None:
    """The chain's import takes 0.3 s, which a start with keys in the environment saves."""
    code = (
        "import asyncio, sys\n"
        "from transports.s3 import open_s3\n"
        "async def main():\n"
        "    t = await open_s3(bucket='b', prefix='', options={'endpoint_url': 'http://h'},"
        f" environment={KEYS!r})\n"
        "    await t.close()\n"
        "asyncio.run(main())\n"
        "sys.exit(any(m.startswith(('botocore', 'aiohttp')) for m in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
