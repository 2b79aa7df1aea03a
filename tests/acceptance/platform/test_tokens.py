"""A token is taken for what it is, and for nothing else (T4)."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.served import Account, Client, Served

pytestmark = [pytest.mark.platform("T4"), pytest.mark.parametrize("server", ["sqlite"], indirect=True)]


def decoded(part: str) -> dict[str, Any]:
    """The header or the claims of a token."""
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return content


def encoded(content: dict[str, Any]) -> str:
    """A header or claims as they stand in a token."""
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


def forged(token: str, victim: str) -> Iterator[tuple[str, str]]:
    """What somebody makes of a good token, to have a longer one or somebody else's, with what was done."""
    head, claims, signature = token.split(".")
    header, said = decoded(head), decoded(claims)
    other = {**said, "sub": victim}
    yield "another account under the same signature", f"{head}.{encoded(other)}.{signature}"
    yield "a longer life under the same signature", f"{head}.{encoded({**said, 'exp': said['exp'] + 9999})}.{signature}"
    for none in ("none", "None", "NONE"):
        yield f"the algorithm {none}", f"{encoded({**header, 'alg': none})}.{encoded(other)}."
        yield f"the algorithm {none} with a signature", f"{encoded({**header, 'alg': none})}.{claims}.{signature}"
    yield "no signature", f"{head}.{claims}."
    yield "the signature of another", f"{head}.{claims}.{signature[::-1]}"
    for key in (header["kid"], "chatter", "x" * 64):
        yield (
            "a secret in place of a key pair",
            jwt.encode(other, str(key).ljust(32, "-"), "HS256", {**header, "alg": "HS256"}),
        )
    own = Ed25519PrivateKey.generate()
    yield "a key of one's own", jwt.encode(other, own, "EdDSA", headers=header)
    yield "a key of one's own, under its own name", jwt.encode(other, own, "EdDSA", headers={**header, "kid": "mine"})
    yield "a key that is nowhere", jwt.encode(other, own, "EdDSA", headers={"kid": "../../secret"})
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(own.public_key().public_bytes_raw()).decode()}
    yield "a key in the header", jwt.encode(other, own, "EdDSA", headers={**header, "jwk": jwk})
    yield "one part too many", f"{token}.{signature}"
    yield "one part too few", f"{head}.{claims}"
    yield "nothing but dots", ".."
    yield "no object", f"{head}.{base64.urlsafe_b64encode(b'[]').decode()}.{signature}"


async def test_every_forged_token_is_refused_alike(anyone: Client, ada: Account) -> None:
    """T4: the algorithm is pinned, the signature covers everything, and the refusal tells nothing."""
    assert await ada.client.reason("GetMe") == ""
    told = set()
    for what, token in forged(ada.tokens.access_token, "user_01a20000-0000-7000-8000-000000000000"):
        for name, answer in (
            ("GetMe", await anyone.trusting(token).call("GetMe")),
            ("Refresh", await anyone.call("Refresh", refresh_token=token)),
        ):
            assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"), (name, what)
            told.add(answer.message)
    assert len(told) == 1


async def test_a_token_of_one_kind_is_not_taken_for_the_other(anyone: Client, ada: Account) -> None:
    """T4: neither a refresh token with a call, nor an access token to Refresh; and both still work as what they are."""
    assert await anyone.trusting(ada.tokens.refresh_token).reason("GetMe") == "TOKEN_INVALID"
    assert await anyone.reason("Refresh", refresh_token=ada.tokens.access_token) == "TOKEN_INVALID"
    assert await ada.client.reason("GetMe") == ""
    assert await anyone.reason("Refresh", refresh_token=ada.tokens.refresh_token) == ""


async def test_a_token_of_another_server_is_refused(anyone: Client, on_postgres: Served) -> None:
    """T4: servers that share no database share no keys."""
    async with on_postgres.connect() as elsewhere:
        name = {"username": "from-elsewhere", "email": "from@elsewhere", "password": "correct horse battery"}
        await elsewhere.ok("Register", **name)
        tokens = (await elsewhere.ok("Login", login="from-elsewhere", password=name["password"])).tokens
        assert await elsewhere.trusting(tokens.access_token).reason("GetMe") == ""
    assert await anyone.trusting(tokens.access_token).reason("GetMe") == "TOKEN_INVALID"
