"""UserService: accounts."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import user_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import user_service_pb2_grpc
from chatter_grpc.core.errors import FieldInvalid, FieldViolation
from chatter_grpc.core.user_service import Users, UserUpdate
from chatter_grpc.core.users import UserFilter
from chatter_grpc.rpc.call import current_call, current_caller
from chatter_grpc.rpc.convert.users import ROLE_OF, STATE_OF, user_message, values_to_update
from chatter_grpc.rpc.page_tokens import PageTokenSigner

Context = grpc.aio.ServicerContext[Any, Any]


class UserService(user_service_pb2_grpc.UserServiceServicer):
    """Serves UserService."""

    def __init__(self, users: Users, page_tokens: PageTokenSigner) -> None:
        self._users = users
        self._page_tokens = page_tokens

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        """Tell who calls."""
        caller = current_caller()
        user = await self._users.me(caller)
        return pb.GetMeResponse(
            user=user_message(user), subject=caller.subject, owner_id=caller.owner_id, scopes=sorted(caller.scopes)
        )

    async def UpdateMe(self, request: pb.UpdateMeRequest, context: Context) -> pb.UpdateMeResponse:
        """Change the caller's account."""
        changed = await self._users.update_me(current_caller(), update_of(request), current_call().request_key)
        return pb.UpdateMeResponse(user=user_message(changed))

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        """Read an account."""
        return pb.GetUserResponse(user=user_message(await self._users.get(request.user_id)))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        """Read a page of accounts."""
        call, caller = current_call(), current_caller()
        wanted = UserFilter(role=ROLE_OF.get(request.role), state=STATE_OF.get(request.state), text=request.text)
        page = await self._users.list(wanted, self._page_tokens.read(request, call.method, caller.owner_id))
        return pb.ListUsersResponse(
            users=map(user_message, page.items),
            next_page_token=self._page_tokens.write(page.next, request, call.method, caller.owner_id),
        )

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:
        """Change an account."""
        if not request.user.id:
            raise FieldInvalid([FieldViolation(field="user.id", description="must be set")])
        changed = await self._users.update(current_caller(), update_of(request), current_call().request_key)
        return pb.UpdateUserResponse(user=user_message(changed))


def update_of(request: pb.UpdateMeRequest | pb.UpdateUserRequest) -> UserUpdate:
    """Return what a request asks to be changed."""
    return UserUpdate(
        user_id=request.user.id,
        values=values_to_update(request.user),
        paths=tuple(request.update_mask.paths),
        etag=request.user.etag,
    )
