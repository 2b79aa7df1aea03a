"""Accounts and tokens, as the contract has them."""

from typing import Final

from chatter_grpc._gen.chatter.v1 import auth_service_pb2, user_pb2
from chatter_grpc.core.api_keys import ApiKey
from chatter_grpc.core.tokens import TokenPair
from chatter_grpc.core.user_service import UserValues
from chatter_grpc.core.users import User, UserLimits, UserRole, UserState
from chatter_grpc.rpc.convert.times import timestamp

ROLES: Final = {
    UserRole.MEMBER: user_pb2.USER_ROLE_MEMBER,
    UserRole.SERVICE: user_pb2.USER_ROLE_SERVICE,
    UserRole.ADMIN: user_pb2.USER_ROLE_ADMIN,
}
ROLE_OF: Final = {number: role for role, number in ROLES.items()}
STATES: Final = {
    UserState.ACTIVE: user_pb2.USER_STATE_ACTIVE,
    UserState.DISABLED: user_pb2.USER_STATE_DISABLED,
}
STATE_OF: Final = {number: state for state, number in STATES.items()}


def user_message(user: User) -> user_pb2.User:
    """Return an account."""
    return user_pb2.User(
        id=user.id,
        username=user.username,
        email=user.email,
        display_name=user.display_name,
        role=ROLES[user.role],
        state=STATES[user.state],
        create_time=timestamp(user.created_at),
        last_login_time=timestamp(user.last_login_at),
        limits=user_pb2.UserLimits(
            messages_per_day=user.limits.messages_per_day, messages_per_month=user.limits.messages_per_month
        ),
        etag=str(user.version),
    )


def values_to_update(message: user_pb2.User) -> UserValues:
    """Return the values that an update may take."""
    limits = message.limits
    return UserValues(
        email=message.email,
        display_name=message.display_name,
        role=ROLE_OF.get(message.role),
        state=STATE_OF.get(message.state),
        limits=UserLimits(
            messages_per_day=limits.messages_per_day if limits.HasField("messages_per_day") else None,
            messages_per_month=limits.messages_per_month if limits.HasField("messages_per_month") else None,
        ),
    )


def api_key_message(key: ApiKey) -> auth_service_pb2.ApiKey:
    """Return the record of an API key."""
    return auth_service_pb2.ApiKey(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=sorted(key.scopes),
        create_time=timestamp(key.created_at),
        expire_time=timestamp(key.expires_at),
        revoke_time=timestamp(key.revoked_at),
    )


def token_pair_message(pair: TokenPair) -> auth_service_pb2.TokenPair:
    """Return the tokens of a session."""
    return auth_service_pb2.TokenPair(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        access_expire_time=timestamp(pair.access_expires_at),
        refresh_expire_time=timestamp(pair.refresh_expires_at),
    )
