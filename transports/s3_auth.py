"""Who asks, and how a request proves it: credentials by botocore's chain, signatures by SigV4.

The only door to aiobotocore, and a lazy one: importing it takes 0.3 s, so the chain's first link,
``AWS_ACCESS_KEY_ID`` in the environment, is read here directly and needs no import.

Each side of a copy has its own environment, given as a mapping; ``os.environ`` is never changed.
botocore's chain reads the process environment by itself, so after it is built every provider in it
that holds an environment gets the side's mapping instead, and the profile and file names go in as
session variables.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from transports.errors import Denied

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"

_NO_CREDENTIALS: Final = (
    "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (with MOVER_SOURCE_ or "
    "MOVER_TARGET_ in front for one side), or ?profile=NAME, or ?unsigned=true for a public bucket"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair, with the token of a session where there is one. ``repr`` shows no secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)

    @property
    def account(self) -> str:
        """A name for the owner that gives nothing away: for telling two transports apart."""
        return hashlib.sha256(self.access_key_id.encode()).hexdigest()[:16]


class CredentialSource(Protocol):
    """Where credentials come from; asked once in a while, so that they never go stale."""

    async def current(self) -> Credentials:
        """The credentials to use now. Raises ``Denied`` where there are none."""

    async def renewed(self) -> Credentials:
        """Credentials after the store has called the current ones expired. Raises ``Denied``."""


class StaticCredentials:
    """Credentials that stay as they are."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def current(self) -> Credentials:
        return self._credentials

    async def renewed(self) -> Credentials:
        return self._credentials


class ChainCredentials:
    """Credentials from botocore's chain: profiles, web identity, SSO, processes, instance roles.

    The chain itself refreshes what expires, ahead of time; asking it is cheap until then.
    """

    def __init__(self, *, profile: str, environment: Mapping[str, str], location: str) -> None:
        self._profile = profile
        self._environment = environment
        self._location = location
        self._found: Any = None

    async def current(self) -> Credentials:
        from botocore.exceptions import BotoCoreError

        try:
            if self._found is None:
                self._found = await self._session().get_credentials()
            if self._found is None:
                raise Denied(self._location, _NO_CREDENTIALS)
            frozen = await self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise Denied(self._location, f"no credentials: {error}") from error
        return Credentials(
            access_key_id=frozen.access_key,
            secret_access_key=frozen.secret_key,
            session_token=frozen.token or "",
        )

    async def renewed(self) -> Credentials:
        self._found = None  # a new walk of the chain reads files and roles again
        return await self.current()

    def _session(self) -> Any:
        from aiobotocore.session import AioSession

        environment = self._environment
        session = AioSession(profile=self._profile or None)
        if not self._profile:
            named = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
            if named:
                # Not as the constructor's profile: that would outrank keys in the environment.
                session.get_component("config_store").set_config_variable("profile", named)
        for variable, name in (
            ("config_file", "AWS_CONFIG_FILE"),
            ("credentials_file", "AWS_SHARED_CREDENTIALS_FILE"),
        ):
            if environment.get(name):
                session.set_config_variable(variable, environment[name])
        for provider in session.get_component("credential_provider").providers:
            _give_environment(provider, environment)
        return session


def _give_environment(provider: Any, environment: Mapping[str, str]) -> None:
    """Let one provider of the chain read ``environment`` in place of the process's own."""
    for attribute in ("environ", "_environ"):
        if hasattr(provider, attribute):
            setattr(provider, attribute, environment)
    variables = getattr(provider, "_CONFIG_TO_ENV_VAR", None)
    if variables is not None:  # web identity: looks into os.environ without holding it
        provider._get_env_config = lambda key: environment.get(variables.get(key, ""))


def credential_source(
    *, profile: str, environment: Mapping[str, str], location: str
) -> CredentialSource:
    """The source for one side. An explicit profile outranks keys in the environment."""
    key_id = environment.get("AWS_ACCESS_KEY_ID")
    secret = environment.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret and not profile:
        token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN", "")
        return StaticCredentials(
            Credentials(access_key_id=key_id, secret_access_key=secret, session_token=token)
        )
    return ChainCredentials(profile=profile, environment=environment, location=location)


# -- signing -----------------------------------------------------------------------------------

_SPACES: Final = re.compile(r"  +")


class Signer:
    """Signs requests by AWS Signature Version 4, in headers (the S3 form of it).

    The S3 form takes the path as it is sent, once encoded and never normalised. The day's key and
    the second's timestamp are kept, which leaves two hashes to a request: 6 µs, against 59 of
    botocore's signer, which a property test holds it against. ``now_s`` gives seconds since 1970.
    """

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        *,
        service: str = "s3",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._service = service
        self._now_s = now_s
        self._second = -1
        self._stamp = ""
        self._scope = ""
        self._key = b""

    def headers(
        self, method: str, path: str, query: str, headers: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """The headers to send: those given and those that prove the request.

        ``path`` and ``query`` are encoded, the query canonical (see ``canonical_query``). Names in
        ``headers`` are lower-case and hold ``host``; every one of them is signed. The body is not
        (``UNSIGNED-PAYLOAD``) unless ``x-amz-content-sha256`` is among them.
        """
        second = int(self._now_s())
        if second != self._second:
            self._turn_to(second)
        sent = dict(headers)
        payload = sent.setdefault("x-amz-content-sha256", UNSIGNED_PAYLOAD)
        sent["x-amz-date"] = self._stamp
        if self._credentials.session_token:
            sent["x-amz-security-token"] = self._credentials.session_token
        names = sorted(sent)
        signed = ";".join(names)
        lines = "".join([f"{name}:{_trimmed(sent[name])}\n" for name in names])
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}"
        digest = hashlib.sha256(canonical.encode("utf-8")).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{self._stamp}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key, to_sign.encode("utf-8"), "sha256").hex()
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._credentials.access_key_id}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return list(sent.items())

    def _turn_to(self, second: int) -> None:
        moment = time.gmtime(second)
        self._second = second
        self._stamp = time.strftime("%Y%m%dT%H%M%SZ", moment)
        scope = f"{self._stamp[:8]}/{self._region}/{self._service}/aws4_request"
        if scope != self._scope:
            self._scope = scope
            key = f"AWS4{self._credentials.secret_access_key}".encode()
            for word in scope.split("/"):
                key = hmac.digest(key, word.encode("utf-8"), "sha256")
            self._key = key


def _trimmed(value: str) -> str:
    value = value.strip()
    return _SPACES.sub(" ", value) if "  " in value else value
