"""AuthService: accounts and sessions."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import auth_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import auth_service_pb2_grpc
from chatter_grpc.core.auth import Auth
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.users import token_pair_message, user_message

Context = grpc.aio.ServicerContext[Any, Any]


class AuthService(auth_service_pb2_grpc.AuthServiceServicer):
    """Serves AuthService."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        """Make an account."""
        user = await self._auth.register(
            username=request.username,
            email=request.email,
            password=request.password,
            display_name=request.display_name,
            address=current_call().peer,
        )
        return pb.RegisterResponse(user=user_message(user))

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        """Open a session."""
        tokens, user = await self._auth.login(
            login=request.login, password=request.password, address=current_call().peer
        )
        return pb.LoginResponse(tokens=token_pair_message(tokens), user=user_message(user))

    async def Refresh(self, request: pb.RefreshRequest, context: Context) -> pb.RefreshResponse:
        """Exchange a refresh token for the next pair."""
        tokens = await self._auth.refresh(request.refresh_token)
        return pb.RefreshResponse(tokens=token_pair_message(tokens))

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        """End the session of the call."""
        await self._auth.logout(current_caller())
        return pb.LogoutResponse()
