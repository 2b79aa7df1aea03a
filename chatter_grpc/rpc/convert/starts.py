"""What requests that start runs ask for."""

from typing import Any, TypedDict

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, run_pb2, run_service_pb2
from chatter_grpc.core.budgets import Budget
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.regenerating import Regenerate
from chatter_grpc.core.runs.run import WorkflowKind
from chatter_grpc.core.sending import Send
from chatter_grpc.rpc.convert.budgets import budget_of
from chatter_grpc.rpc.convert.conversations import model_settings
from chatter_grpc.rpc.convert.messages import message_parts
from chatter_grpc.rpc.convert.runs import KIND_OF


class How(TypedDict):
    """The fields of ``Start`` that all such requests have."""

    overrides: ModelSettings
    kind: WorkflowKind | None
    workflow_id: str | None
    response_schema: str
    budget: Budget


def send_of(request: chat_service_pb2.SendMessageRequest) -> Send:
    """Return what a request asks to be sent; raises ``FieldInvalid``."""
    return Send(
        conversation_id=request.conversation_id,
        parts=message_parts(request.parts),
        cancel_on_disconnect=request.on_disconnect == run_pb2.ON_DISCONNECT_CANCEL,
        **_how(request),
    )


def regenerate_of(request: chat_service_pb2.RegenerateMessageRequest) -> Regenerate:
    """Return what a request asks to be answered again; raises ``FieldInvalid``."""
    return Regenerate(
        message_id=request.message_id,
        cancel_on_disconnect=request.on_disconnect == run_pb2.ON_DISCONNECT_CANCEL,
        **_how(request),
    )


def detached_of(request: run_service_pb2.CreateRunRequest) -> Send:
    """Return what a request asks to be sent and answered later; raises ``FieldInvalid``."""
    return Send(
        conversation_id=request.conversation_id, parts=message_parts(request.parts), detached=True, **_how(request)
    )


def _how(request: Any) -> How:
    workflow = request.WhichOneof("workflow")
    return How(
        overrides=model_settings(request.overrides),
        kind=KIND_OF[request.kind] if workflow == "kind" else None,
        workflow_id=request.workflow_id if workflow == "workflow_id" else None,
        response_schema=request.response_schema,
        budget=budget_of(request.budget, "budget"),
    )
