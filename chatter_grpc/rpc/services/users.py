"""UserService: accounts."""

from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import user_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import user_service_pb2_grpc
from chatter_grpc.core.user_service import Users
from chatter_grpc.rpc.call import current_caller
from chatter_grpc.rpc.convert.users import user_message

Context = grpc.aio.ServicerContext[Any, Any]


class UserService(user_service_pb2_grpc.UserServiceServicer):
    """Serves UserService."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def GetMe(self, request: pb.GetMeRequest, context: Context) -> pb.GetMeResponse:
        """Tell who calls."""
        caller = current_caller()
        user = await self._users.me(caller)
        return pb.GetMeResponse(
            user=user_message(user), subject=caller.subject, owner_id=caller.owner_id, scopes=sorted(caller.scopes)
        )
