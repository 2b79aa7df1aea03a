"""Accounts and tokens, as the contract has them."""

from typing import Final

from chatter_grpc._gen.chatter.v1 import auth_service_pb2, user_pb2
from chatter_grpc.core.tokens import TokenPair
from chatter_grpc.core.users import User, UserRole, UserState
from chatter_grpc.rpc.convert.times import timestamp

ROLES: Final = {
    UserRole.MEMBER: user_pb2.USER_ROLE_MEMBER,
    UserRole.SERVICE: user_pb2.USER_ROLE_SERVICE,
    UserRole.ADMIN: user_pb2.USER_ROLE_ADMIN,
}
STATES: Final = {
    UserState.ACTIVE: user_pb2.USER_STATE_ACTIVE,
    UserState.DISABLED: user_pb2.USER_STATE_DISABLED,
}


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
    )


def token_pair_message(pair: TokenPair) -> auth_service_pb2.TokenPair:
    """Return the tokens of a session."""
    return auth_service_pb2.TokenPair(
        access_token=pair.access_token,
        refresh_token=pair.refresh_token,
        access_expire_time=timestamp(pair.access_expires_at),
        refresh_expire_time=timestamp(pair.refresh_expires_at),
    )
