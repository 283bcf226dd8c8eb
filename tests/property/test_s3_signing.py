"""Signatures against botocore's own signer, for any key, query, header and session."""

import datetime
from unittest import mock
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given, settings
from hypothesis import strategies as st

from transports.s3_auth import UNSIGNED_PAYLOAD, Credentials, Signer
from transports.s3_requests import canonical_query

NOW_S = 1_700_000_000

names = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# botocore collapses white space of all kinds; ours never sends any but spaces.
values = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20)


def boto_authorization(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    credentials: Credentials,
) -> str:
    url = f"https://{headers['host']}{path}"
    if query:
        url += "?" + "&".join(f"{quote(n, safe='-_.~')}={quote(v, safe='-_.~')}" for n, v in query)
    request = AWSRequest(method=method, url=url, headers=headers)
    request.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": False})
    request.context["payload_signing_enabled"] = False
    signer = S3SigV4Auth(
        BotoCredentials(
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token or None,
        ),
        "s3",
        "eu-1",
    )
    moment = datetime.datetime.fromtimestamp(NOW_S, datetime.UTC).replace(tzinfo=None)
    with mock.patch("botocore.auth.get_current_datetime", return_value=moment):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


@settings(max_examples=200, deadline=None)
@given(
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"]),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    query=st.dictionaries(names, texts, max_size=4),
    more=st.dictionaries(names.map(lambda name: f"x-amz-meta-{name}"), values, max_size=4),
    token=st.sampled_from(["", "a/token+of==a session"]),
)
def test_signatures_are_botocores(
    method: str, key: str, query: dict[str, str], more: dict[str, str], token: str
) -> None:
    credentials = Credentials(
        access_key_id="AKIDEXAMPLE", secret_access_key="wJalr/XUtn+FEMI", session_token=token
    )
    path = "/bucket/" + quote(key.encode(), safe="/~")
    pairs = list(query.items())
    headers = {"host": "store.lab:8333", "x-amz-content-sha256": UNSIGNED_PAYLOAD, **more}
    signer = Signer(credentials, "eu-1", now_s=lambda: NOW_S + 0.9)
    for _ in range(2):  # with a fresh day's key, then with the kept one
        ours = dict(signer.headers(method, path, canonical_query(pairs), list(headers.items())))
    assert ours["authorization"] == boto_authorization(method, path, pairs, headers, credentials)


def test_the_day_and_the_second_turn() -> None:
    clock = [86_399.5]
    credentials = Credentials(access_key_id="A", secret_access_key="s")
    signer = Signer(credentials, "eu-1", now_s=lambda: clock[0])
    seen = []
    for now_s in (86_399.5, 86_399.9, 86_400.0, 86_401.0, 86_399.5):
        clock[0] = now_s
        seen.append(dict(signer.headers("GET", "/b/k", "", [("host", "h")]))["authorization"])
    fresh = Signer(credentials, "eu-1", now_s=lambda: 86_399.0)
    assert seen[0] == seen[1] == seen[4]
    assert seen[0] == dict(fresh.headers("GET", "/b/k", "", [("host", "h")]))["authorization"]
    assert len({seen[1], seen[2], seen[3]}) == 3
    assert "19700102/eu-1/s3/aws4_request" in seen[2]
