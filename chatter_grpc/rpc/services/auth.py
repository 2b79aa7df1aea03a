"""AuthService: accounts, sessions and API keys."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import auth_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import auth_service_pb2_grpc
from chatter_grpc.core.api_key_service import ApiKeys, ApiKeyValues
from chatter_grpc.core.auth import Auth
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.times import moment_of
from chatter_grpc.rpc.convert.users import api_key_message, token_pair_message, user_message
from chatter_grpc.rpc.page_tokens import PageTokenSigner

Context = grpc.aio.ServicerContext[Any, Any]


class AuthService(auth_service_pb2_grpc.AuthServiceServicer):
    """Serves AuthService."""

    def __init__(self, auth: Auth, api_keys: ApiKeys, page_tokens: PageTokenSigner) -> None:
        self._auth = auth
        self._api_keys = api_keys
        self._page_tokens = page_tokens

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

    async def LogoutEverywhere(
        self, request: pb.LogoutEverywhereRequest, context: Context
    ) -> pb.LogoutEverywhereResponse:
        """End all sessions of the caller's account."""
        return pb.LogoutEverywhereResponse(session_count=await self._auth.logout_everywhere(current_caller()))

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        """Set a new password."""
        ended = await self._auth.change_password(
            current_caller(),
            current=request.current_password,
            new=request.new_password,
            address=current_call().peer,
        )
        return pb.ChangePasswordResponse(ended_session_count=ended)

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Context) -> pb.CreateApiKeyResponse:
        """Make an API key."""
        values = ApiKeyValues(
            name=request.name,
            scopes=frozenset(request.scopes),
            expires_at=moment_of(request, "expire_time"),
        )
        issued = await self._api_keys.create(current_caller(), values, current_call().request_key)
        return pb.CreateApiKeyResponse(api_key=api_key_message(issued.key), secret=issued.text)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Context) -> pb.ListApiKeysResponse:
        """Read a page of API keys."""
        call, caller = current_call(), current_caller()
        page = await self._api_keys.list(caller, self._page_tokens.read(request, call.method, caller.owner_id))
        return pb.ListApiKeysResponse(
            api_keys=map(api_key_message, page.items),
            next_page_token=self._page_tokens.write(page.next, request, call.method, caller.owner_id),
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.RevokeApiKeyResponse:
        """Revoke an API key."""
        key = await self._api_keys.revoke(current_caller(), request.api_key_id)
        return pb.RevokeApiKeyResponse(api_key=api_key_message(key))
