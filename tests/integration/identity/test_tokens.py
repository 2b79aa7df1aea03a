"""Tokens: only what this server signed, for this use and audience, and only while it holds, is taken."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.tokens.jwt import MAX_TOKEN_LENGTH
from chatter_grpc.core.callers import SESSION_SCOPES
from chatter_grpc.core.errors import ApiKeyInvalid, CredentialsMissing, TokenExpired, TokenInvalid
from chatter_grpc.core.tokens import TokenKind, TokenPair
from tests.support.databases import SqliteFiles
from tests.support.identity import AUDIENCE, ISSUER, Replica

Json = dict[str, Any]


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def segment(value: object) -> str:
    return encode(json.dumps(value).encode())


def decode(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@dataclass
class Attack:
    """A good access token taken apart, with the server's real key, which most attackers do not have."""

    token: str
    header: Json
    payload: Json
    signature: str
    private: Ed25519PrivateKey
    refresh_token: str

    def signed(self, header: object, payload: object, key: Ed25519PrivateKey | None = None) -> str:
        content = f"{segment(header)}.{segment(payload)}"
        return f"{content}.{encode((key or self.private).sign(content.encode()))}"

    def with_header(self, **changes: object) -> str:
        return self.signed({**self.header, **changes}, self.payload)

    def with_claims(self, **changes: object) -> str:
        return self.signed(self.header, {**self.payload, **changes})

    def without_header(self, name: str) -> str:
        return self.signed({key: value for key, value in self.header.items() if key != name}, self.payload)

    def without_claim(self, name: str) -> str:
        return self.signed(self.header, {key: value for key, value in self.payload.items() if key != name})

    def as_hmac(self, secret: bytes) -> str:
        content = f"{segment({**self.header, 'alg': 'HS256'})}.{segment(self.payload)}"
        return f"{content}.{encode(hmac.new(secret, content.encode(), hashlib.sha256).digest())}"

    def as_rsa(self) -> str:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        content = f"{segment({**self.header, 'alg': 'RS256'})}.{segment(self.payload)}"
        return f"{content}.{encode(key.sign(content.encode(), PKCS1v15(), SHA256()))}"

    def as_ecdsa(self) -> str:
        key = ec.generate_private_key(ec.SECP256R1())
        content = f"{segment({**self.header, 'alg': 'ES256'})}.{segment(self.payload)}"
        return f"{content}.{encode(key.sign(content.encode(), ec.ECDSA(SHA256())))}"

    def with_own_key(self, **header: object) -> str:
        own = Ed25519PrivateKey.generate()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": encode(own.public_key().public_bytes_raw())}
        return self.signed({**self.header, "jwk": jwk, **header}, self.payload, own)


@pytest.fixture
def databases(sqlite_files: SqliteFiles) -> SqliteFiles:
    """One kind of database is enough: tokens are verified without it."""
    return sqlite_files


@pytest.fixture
async def pair(replica: Replica) -> TokenPair:
    await replica.sign_up()
    return await replica.log_in()


@pytest.fixture
async def attack(replica: Replica, pair: TokenPair) -> Attack:
    header, payload, signature = pair.access_token.split(".")
    private = await replica.keys.private(replica.keys.kid)
    assert private is not None
    return Attack(
        token=pair.access_token,
        header=decode(header),
        payload=decode(payload),
        signature=signature,
        private=private,
        refresh_token=pair.refresh_token,
    )


async def test_the_table_below_begins_with_a_good_token(replica: Replica, attack: Attack) -> None:
    assert attack.header == {"alg": "EdDSA", "kid": replica.keys.kid, "typ": "at+jwt"}
    assert set(attack.payload) == {"iss", "aud", "sub", "sid", "jti", "iat", "exp", "scope"}
    assert attack.payload["scope"].split() == sorted(SESSION_SCOPES)
    assert (attack.payload["iss"], attack.payload["aud"]) == (ISSUER, AUDIENCE)
    caller = await replica.authenticator.authenticate(attack.signed(attack.header, attack.payload), "")
    assert caller.session_id == attack.payload["sid"]


def raw(attack: Attack) -> bytes:
    return attack.private.public_key().public_bytes_raw()


def pem(attack: Attack) -> bytes:
    return attack.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


ATTACKS: dict[str, Callable[[Attack], str]] = {
    "the algorithm none, without a signature": lambda a: (
        f"{segment({**a.header, 'alg': 'none'})}.{segment(a.payload)}."
    ),
    "the algorithm none, with the signature": lambda a: (
        f"{segment({**a.header, 'alg': 'none'})}.{segment(a.payload)}.{a.signature}"
    ),
    "the algorithm None, signed": lambda a: a.with_header(alg="None"),
    "an empty algorithm": lambda a: a.with_header(alg=""),
    "no algorithm": lambda a: a.without_header("alg"),
    "an algorithm that is no text": lambda a: a.with_header(alg=["EdDSA"]),
    "HMAC under the public key's bytes": lambda a: a.as_hmac(raw(a)),
    "HMAC under the public key's PEM": lambda a: a.as_hmac(pem(a)),
    "HMAC under nothing": lambda a: a.as_hmac(b""),
    "HMAC in name, signed with the real key": lambda a: a.with_header(alg="HS256"),
    "RSA": lambda a: a.as_rsa(),
    "ECDSA": lambda a: a.as_ecdsa(),
    "another key under the real key's id": lambda a: a.signed(a.header, a.payload, Ed25519PrivateKey.generate()),
    "a key of its own in the header": lambda a: a.with_own_key(),
    "a key of its own in the header, and no id": lambda a: a.with_own_key(kid=None),
    "a key to be fetched": lambda a: a.with_own_key(jku="http://attacker.example/keys", x5u="http://attacker.example"),
    "an unknown key id": lambda a: a.with_header(kid="0" * 32),
    "a key id that is a path": lambda a: a.with_header(kid="../../dev/null"),
    "a key id that is SQL": lambda a: a.with_header(kid="' OR 1=1 --"),
    "a key id that is no text": lambda a: a.with_header(kid={"kid": a.header["kid"]}),
    "no key id": lambda a: a.without_header("kid"),
    "a refresh token": lambda a: a.refresh_token,
    "another type": lambda a: a.with_header(typ="JWT"),
    "a type in other letters": lambda a: a.with_header(typ="AT+JWT"),
    "a type that is no text": lambda a: a.with_header(typ=["at+jwt"]),
    "no type": lambda a: a.without_header("typ"),
    "a critical extension": lambda a: a.with_header(crit=["exp"], exp=0),
    "a detached payload": lambda a: a.with_header(b64=False, crit=["b64"]),
    "another issuer": lambda a: a.with_claims(iss="https://attacker.example"),
    "an issuer in a list": lambda a: a.with_claims(iss=[ISSUER]),
    "no issuer": lambda a: a.without_claim("iss"),
    "another audience": lambda a: a.with_claims(aud="another.api"),
    "the audience among others": lambda a: a.with_claims(aud=[AUDIENCE, "another.api"]),
    "no audience": lambda a: a.without_claim("aud"),
    "no subject": lambda a: a.without_claim("sub"),
    "an empty subject": lambda a: a.with_claims(sub=""),
    "a subject that is no text": lambda a: a.with_claims(sub=7),
    "no session": lambda a: a.without_claim("sid"),
    "no scope": lambda a: a.without_claim("scope"),
    "a scope that is a list": lambda a: a.with_claims(scope=["chat:read"]),
    "a session that is no text": lambda a: a.with_claims(sid=[a.payload["sid"]]),
    "no token id": lambda a: a.without_claim("jti"),
    "a token id that is no text": lambda a: a.with_claims(jti=1),
    "no time of issue": lambda a: a.without_claim("iat"),
    "a time of issue in the future": lambda a: a.with_claims(iat=a.payload["iat"] + 60),
    "a time of issue that is text": lambda a: a.with_claims(iat=str(a.payload["iat"])),
    "no expiry": lambda a: a.without_claim("exp"),
    "an expiry of null": lambda a: a.with_claims(exp=None),
    "an expiry that is text": lambda a: a.with_claims(exp="99999999999"),
    "an expiry that is true": lambda a: a.with_claims(exp=True),
    "an expiry after the end of time": lambda a: a.with_claims(exp=10**18),
    "an expiry that is infinite": lambda a: a.with_claims(exp=float("inf")),
    "an expiry that is no number": lambda a: a.with_claims(exp=float("nan")),
    "an expiry before time began": lambda a: a.with_claims(exp=-1),
    "claims that are a list": lambda a: a.signed(a.header, [a.payload]),
    "claims that are null": lambda a: a.signed(a.header, None),
    "a header that is a list": lambda a: a.signed([a.header], a.payload),
    "other claims under the signature": lambda a: (
        f"{segment(a.header)}.{segment({**a.payload, 'sub': 'user_2'})}.{a.signature}"
    ),
    "no signature": lambda a: a.token.rpartition(".")[0] + ".",
    "two parts": lambda a: a.token.rpartition(".")[0],
    "four parts": lambda a: a.token + ".x",
    "a signature cut short": lambda a: a.token[:-2],
    "a space before it": lambda a: " " + a.token,
    "a line after it": lambda a: a.token + "\n",
    "characters beyond ASCII": lambda a: a.token + "é",
    "half a surrogate pair": lambda a: a.token + "\ud800",
    "a byte of zero": lambda a: a.token + "\0",
    "no token at all": lambda a: "token",
    "nothing but dots": lambda a: "..",
    "a header nested without end": lambda a: f"{encode(b'[' * 2900)}.e30.e30",
    "more than a token may be long": lambda a: a.with_header(padding="x" * MAX_TOKEN_LENGTH),
}


@pytest.mark.platform("T4")
@pytest.mark.parametrize("name", ATTACKS)
async def test_a_forged_access_token_is_refused(replica: Replica, attack: Attack, name: str) -> None:
    """T4: the algorithm is pinned; kind, key, issuer, audience and all claims are checked."""
    token = ATTACKS[name](attack)
    assert token != attack.token
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            await replica.authenticator.authenticate(token, "")


@pytest.mark.platform("T4")
async def test_an_access_token_is_refused_as_a_refresh_token(replica: Replica, attack: Attack) -> None:
    """T4: the kinds do not stand in for one another, whatever the header is changed to."""
    for token in (attack.token, attack.with_header(typ="rt+jwt")):
        with pytest.raises(TokenInvalid):
            await replica.auth.refresh(token)


async def test_an_access_token_is_refused_once_its_time_is_over(replica: Replica, pair: TokenPair) -> None:
    for _ in range(2):
        await replica.authenticator.authenticate(pair.access_token, "")
    replica.clock.advance(20 * 60 + 5)
    await replica.watch.poll()
    for _ in range(2):
        with pytest.raises(TokenExpired) as refused:
            await replica.authenticator.authenticate(pair.access_token, "")
        assert refused.value.metadata == {"expired_at": pair.access_expires_at.isoformat()}


async def test_a_clock_that_is_a_little_behind_takes_a_fresh_token(replica: Replica, attack: Attack) -> None:
    ahead = attack.with_claims(iat=attack.payload["iat"] + 4)
    assert (await replica.tokens.verify(ahead, TokenKind.ACCESS)).session_id == attack.payload["sid"]


async def test_an_access_token_without_any_credentials_is_missing(replica: Replica) -> None:
    with pytest.raises(CredentialsMissing):
        await replica.authenticator.authenticate("", "")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(st.text(min_size=1), st.text(st.characters(codec="ascii"), min_size=1).map(lambda text: f"chk_{text}"))
)
async def test_no_text_whatever_is_taken_for_credentials(replica: Replica, text: str) -> None:
    with pytest.raises((TokenInvalid, ApiKeyInvalid)):
        await replica.authenticator.authenticate(text, "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(["iss", "aud", "sub", "sid", "jti", "iat", "exp", "typ", "kid", "alg"]), value=json_values)
async def test_any_value_in_any_place_of_a_signed_token_is_taken_or_refused_in_order(
    replica: Replica, attack: Attack, name: str, value: object
) -> None:
    change = attack.with_header if name in attack.header else attack.with_claims
    # Anything else that is raised fails the test.
    with suppress(TokenInvalid, TokenExpired):
        await replica.tokens.verify(change(**{name: value}), TokenKind.ACCESS)
