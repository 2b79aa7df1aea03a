"""The generated code of the contract, to make requests from and to read responses with."""

from chatter_client._gen.chatter.options.v1 import error_pb2 as error_pb2
from chatter_client._gen.chatter.options.v1 import policy_pb2 as policy_pb2
from chatter_client._gen.chatter.v1 import auth_service_pb2 as auth_service_pb2
from chatter_client._gen.chatter.v1 import chat_service_pb2 as chat_service_pb2
from chatter_client._gen.chatter.v1 import content_pb2 as content_pb2
from chatter_client._gen.chatter.v1 import conversation_pb2 as conversation_pb2
from chatter_client._gen.chatter.v1 import error_reason_pb2 as error_reason_pb2
from chatter_client._gen.chatter.v1 import message_pb2 as message_pb2
from chatter_client._gen.chatter.v1 import run_event_pb2 as run_event_pb2
from chatter_client._gen.chatter.v1 import run_pb2 as run_pb2
from chatter_client._gen.chatter.v1 import run_service_pb2 as run_service_pb2
from chatter_client._gen.chatter.v1 import system_service_pb2 as system_service_pb2
from chatter_client._gen.chatter.v1 import user_pb2 as user_pb2
from chatter_client._gen.chatter.v1 import user_service_pb2 as user_service_pb2
