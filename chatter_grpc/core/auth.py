"""Accounts sign up and log in: the use-cases that make sessions, carry them on and end them."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from chatter_grpc.core.account_rules import require_valid_account, require_valid_password
from chatter_grpc.core.audit import DONE, record
from chatter_grpc.core.callers import SCOPES_OF, Caller
from chatter_grpc.core.clock import Clock, utc_now
from chatter_grpc.core.errors import (
    AccountDisabled,
    ChatterError,
    EmailTaken,
    LoginFailed,
    PasswordAbsent,
    PasswordWrong,
    RateLimited,
    RefreshTokenReused,
    RegistrationClosed,
    SessionRequired,
    SessionRevoked,
    TokenInvalid,
    UsernameTaken,
)
from chatter_grpc.core.ids import REFRESH_TOKEN, SESSION, USER, new_id
from chatter_grpc.core.limits import Limit, RateLimiter
from chatter_grpc.core.lockout import end_sessions, hold_account, hold_credentials
from chatter_grpc.core.login_throttle import LoginThrottle, network_of
from chatter_grpc.core.passwords import PasswordHasher
from chatter_grpc.core.revocation_watch import RevocationWatch
from chatter_grpc.core.revocations import Revocation, RevocationKind
from chatter_grpc.core.sessions import RefreshToken, Session
from chatter_grpc.core.storage import Storage, Transaction
from chatter_grpc.core.tokens import Claims, TokenKind, TokenPair, TokenSigner
from chatter_grpc.core.users import User, UserRole, UserState

FAILURES_PER_ACCOUNT: Final = Limit(amount=5, seconds=900)
FAILURES_PER_ADDRESS: Final = Limit(amount=20, seconds=900)
REGISTRATIONS_PER_ADDRESS: Final = Limit(amount=100, seconds=3600)
# How often a login is begun anew because the password was changed while it was verified.
LOGIN_TRIES: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """How accounts and sessions are made.

    ``retry_window`` is how long a used refresh token is answered like the first time, while its successor is unused.
    The limits count failed logins, and registrations from one address.
    """

    registration_open: bool = True
    access_lifetime: timedelta = timedelta(minutes=20)
    refresh_lifetime: timedelta = timedelta(days=7)
    retry_window: timedelta = timedelta(seconds=30)
    failures_per_account: Limit = FAILURES_PER_ACCOUNT
    failures_per_address: Limit = FAILURES_PER_ADDRESS
    registrations_per_address: Limit = REGISTRATIONS_PER_ADDRESS


class Auth:
    """Registers accounts and runs their login sessions."""

    def __init__(
        self,
        *,
        storage: Storage,
        passwords: PasswordHasher,
        tokens: TokenSigner,
        limiter: RateLimiter,
        watch: RevocationWatch,
        settings: AuthSettings,
        clock: Clock = utc_now,
    ) -> None:
        self._storage = storage
        self._passwords = passwords
        self._tokens = tokens
        self._limiter = limiter
        self._watch = watch
        self._settings = settings
        self._clock = clock
        self._throttle = LoginThrottle(
            limiter, per_account=settings.failures_per_account, per_address=settings.failures_per_address
        )

    async def register(self, *, username: str, email: str, password: str, display_name: str, address: str) -> User:
        """Make an account with the role member.

        Raises ``RegistrationClosed``, ``FieldInvalid``, ``UsernameTaken``, ``EmailTaken``, ``RateLimited``.
        """
        if not self._settings.registration_open:
            raise RegistrationClosed
        require_valid_account(username=username, email=email, display_name=display_name, password=password)
        await self._count_registration(address)
        await self._require_free(username, email)
        user = User(
            id=new_id(USER),
            username=username,
            email=email,
            display_name=display_name,
            role=UserRole.MEMBER,
            state=UserState.ACTIVE,
            password_hash=await self._passwords.hash(password),
            created_at=self._clock(),
        )
        async with self._storage.write() as tx:
            await tx.users.add(user)
            await record(tx.audit, "user", user.id, actor_id=user.id)
        return user

    async def login(self, *, login: str, password: str, address: str) -> tuple[TokenPair, User]:
        """Open a session for the account with this username or email address.

        Raises ``LoginFailed``, alike and after the same time, on an unknown account, a wrong password and an account
        without one; ``AccountDisabled`` after the right password alone; ``LoginThrottled``, ``RateLimited``.
        """
        for _ in range(LOGIN_TRIES):
            user = await self._verified(login, password, address)
            opened = await self._open_session(user, password)
            if opened is not None:
                return opened
            # The password was changed, or hashed anew, in between: what holds now decides.
        raise LoginFailed

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Exchange a refresh token for the next pair; a repeat within the retry window gets the same pair again.

        Any other second use ends the session, for good, and raises ``RefreshTokenReused``. Raises ``TokenInvalid``,
        ``TokenExpired``, ``SessionRevoked``, ``AccountDisabled``.
        """
        claims = await self._tokens.verify(refresh_token, TokenKind.REFRESH)
        now = self._clock()
        revocation = Revocation(kind=RevocationKind.SESSION, target_id=claims.session_id)
        async with self._storage.write() as tx:
            user, used = await self._used_token(tx, claims)
            successor = await self._succeed(tx, used, now)
            outcome = DONE if successor is not None else RefreshTokenReused().reason
            await record(tx.audit, "session", claims.session_id, actor_id=user.id, outcome=outcome)
            if successor is None:
                # Committed, whatever is raised below: whoever holds the other copy is locked out too.
                await tx.sessions.revoke(claims.session_id, now)
                await tx.revocations.add((revocation,))
        if successor is None:
            self._watch.apply((revocation,))
            raise RefreshTokenReused
        return await self._pair(successor, user)

    async def session_of(self, refresh_token: str) -> str | None:
        """Return the session of a refresh token that was signed here, used or not; ``None`` for any other text."""
        try:
            claims = await self._tokens.verify(refresh_token, TokenKind.REFRESH)
        except ChatterError:
            return None
        return claims.session_id

    async def logout(self, caller: Caller) -> None:
        """End the session that the call came with; raises ``SessionRequired`` where it came with an API key."""
        if caller.session_id is None:
            raise SessionRequired
        revocation = Revocation(kind=RevocationKind.SESSION, target_id=caller.session_id)
        async with self._storage.write() as tx:
            if await tx.sessions.revoke(caller.session_id, self._clock()):
                await record(tx.audit, "session", caller.session_id)
                await tx.revocations.add((revocation,))
        self._watch.apply((revocation,))

    async def logout_everywhere(self, caller: Caller) -> int:
        """End all sessions of the caller's account, this one too; return how many; raises ``SessionRequired``."""
        if caller.session_id is None:
            raise SessionRequired
        async with self._storage.write() as tx:
            # The account's row is what a login takes: none slips in unseen.
            await tx.users.lock(caller.actor_id)
            revocations = await end_sessions(tx, caller.actor_id, self._clock())
            await record(tx.audit, "user", caller.actor_id)
            await tx.revocations.add(revocations)
        self._watch.apply(revocations)
        return len(revocations)

    async def change_password(self, caller: Caller, *, current: str, new: str, address: str) -> int:
        """Set a new password, end all other sessions of the account, and return how many those were.

        Wrong passwords count as failed logins do. Raises ``PasswordAbsent``, ``SessionRequired``, ``PasswordWrong``,
        ``LoginThrottled``, ``FieldInvalid``, ``AccountDisabled``, ``SessionRevoked``, ``RateLimited``.
        """
        async with self._storage.read() as tx:
            user = await tx.users.get(caller.actor_id)
        if user is None or user.password_hash is None:
            raise PasswordAbsent
        if caller.session_id is None:
            raise SessionRequired
        require_valid_password(new, "new_password")
        async with self._throttle.from_address(address), self._throttle.on_account(user.id):
            if not await self._passwords.verify(current, user.password_hash):
                await self._note_refusal(user.id, PasswordWrong())
                raise PasswordWrong
        new_hash = await self._passwords.hash(new)
        now = self._clock()
        async with self._storage.write() as tx:
            # First of all: a login takes this row too, and finds another hash than it verified.
            if not await tx.users.set_password(user.id, new_hash, instead_of=user.password_hash):
                raise PasswordWrong
            await hold_account(tx, caller)
            await hold_credentials(tx, caller, now)
            revocations = await end_sessions(tx, user.id, now, but=caller.session_id)
            await record(tx.audit, "user", user.id)
            await tx.revocations.add(revocations)
        self._watch.apply(revocations)
        return len(revocations)

    async def _verified(self, login: str, password: str, address: str) -> User:
        """Return the account whose name and password these are; raises ``LoginFailed``, ``LoginThrottled``."""
        async with self._throttle.from_address(address):
            async with self._storage.read() as tx:
                user = await tx.users.find(login)
            async with self._throttle.on_account(login.casefold() if user is None else user.id):
                # Verified also where there is no account, so that the time tells nothing.
                fits = await self._passwords.verify(password, None if user is None else user.password_hash)
                if user is None or not fits:
                    await self._note_refusal("" if user is None else user.id, LoginFailed())
                    raise LoginFailed
        return user

    async def _note_refusal(self, user_id: str, error: ChatterError) -> None:
        """Record a refusal for itself, since there is no change that it could go with."""
        async with self._storage.write() as tx:
            await record(tx.audit, "user", user_id, outcome=error.reason)

    async def _count_registration(self, address: str) -> None:
        if not address:
            return
        limit = self._settings.registrations_per_address
        decision = await self._limiter.hit(f"register:address:{network_of(address)}", limit)
        if not decision.allowed:
            raise RateLimited(limit_class="register", retry_after=decision.reset_after)

    async def _require_free(self, username: str, email: str) -> None:
        """Refuse a name that is taken before its password is hashed; ``add`` refuses what comes in between."""
        async with self._storage.read() as tx:
            if await tx.users.find(username) is not None:
                raise UsernameTaken
            if await tx.users.find(email) is not None:
                raise EmailTaken

    async def _open_session(self, user: User, password: str) -> tuple[TokenPair, User] | None:
        """Open a session; ``None`` where the account's password is no longer the one that was verified."""
        assert user.password_hash is not None
        rehashed = None
        if self._passwords.needs_rehash(user.password_hash):
            rehashed = await self._passwords.hash(password)
        now = self._clock()
        session_id = new_id(SESSION)
        first = self._new_token(session_id, now)
        async with self._storage.write() as tx:
            # Whoever disables the account meanwhile either sees this session and ends it, or is seen below.
            current = await tx.users.lock(user.id)
            if current is None or current.password_hash != user.password_hash:
                return None
            active = current.state is UserState.ACTIVE
            if active:
                session = Session(id=session_id, user_id=user.id, created_at=now, expires_at=first.expires_at)
                await tx.sessions.add(session, first)
                await tx.users.note_login(user.id, now)
                if rehashed is not None:
                    await tx.users.set_password(user.id, rehashed, instead_of=user.password_hash)
                await record(tx.audit, "session", session_id, actor_id=user.id)
            else:
                await record(tx.audit, "user", user.id, actor_id=user.id, outcome=AccountDisabled().reason)
        if not active:
            raise AccountDisabled
        return await self._pair(first, current), replace(current, last_login_at=now)

    async def _used_token(self, tx: Transaction, claims: Claims) -> tuple[User, RefreshToken]:
        """Return the account and the refresh token, held, unless their session may not go on."""
        token = await tx.sessions.lock_token(claims.token_id)
        session = None if token is None else await tx.sessions.get(token.session_id)
        if token is None or session is None or session.id != claims.session_id:
            raise TokenInvalid
        if session.revoked_at is not None:
            raise SessionRevoked
        user = await tx.users.get(session.user_id)
        if user is None or user.id != claims.user_id:
            raise TokenInvalid
        if user.state is not UserState.ACTIVE:
            raise AccountDisabled
        return user, token

    async def _succeed(self, tx: Transaction, used: RefreshToken, now: datetime) -> RefreshToken | None:
        """Return the successor of a held token: a new one on first use, the same on a retry, else ``None``."""
        if used.rotated_at is None:
            successor = self._new_token(used.session_id, now)
            await tx.sessions.rotate(used.id, successor, now)
            return successor
        if used.successor_id is None or now - used.rotated_at > self._settings.retry_window:
            return None
        earlier = await tx.sessions.get_token(used.successor_id)
        return earlier if earlier is not None and earlier.rotated_at is None else None

    def _new_token(self, session_id: str, now: datetime) -> RefreshToken:
        issued_at = now.replace(microsecond=0)
        return RefreshToken(
            id=new_id(REFRESH_TOKEN),
            session_id=session_id,
            kid=self._tokens.kid,
            issued_at=issued_at,
            expires_at=issued_at + self._settings.refresh_lifetime,
        )

    async def _pair(self, token: RefreshToken, user: User) -> TokenPair:
        """Sign the pair that belongs to a refresh token's row; always the same for the same row.

        The scopes are those of the account's role, with which its sessions end.
        """
        refresh = Claims(
            kind=TokenKind.REFRESH,
            token_id=token.id,
            session_id=token.session_id,
            user_id=user.id,
            issued_at=token.issued_at,
            expires_at=token.expires_at,
        )
        access = replace(
            refresh,
            kind=TokenKind.ACCESS,
            token_id=f"at{token.id.removeprefix(REFRESH_TOKEN)}",
            expires_at=token.issued_at + self._settings.access_lifetime,
            scopes=SCOPES_OF[user.role],
        )
        return TokenPair(
            access_token=await self._tokens.sign(access, token.kid),
            refresh_token=await self._tokens.sign(refresh, token.kid),
            access_expires_at=access.expires_at,
            refresh_expires_at=refresh.expires_at,
        )
