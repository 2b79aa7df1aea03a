"""Errors of conversations, their messages and what is asked in them."""

from chatter_grpc.core.errors.error import ChatterError


class ConversationNotFound(ChatterError):
    """There is no such conversation."""

    def __init__(self, *, conversation_id: str) -> None:
        super().__init__(conversation_id=conversation_id)


class MessageNotFound(ChatterError):
    """There is no such message."""

    def __init__(self, *, message_id: str) -> None:
        super().__init__(message_id=message_id)


class ConversationBusy(ChatterError):
    """Another run is at work in this conversation; watch it, cancel it, or wait for its end."""

    def __init__(self, *, conversation_id: str, run_id: str) -> None:
        super().__init__(conversation_id=conversation_id, run_id=run_id)


class ConversationArchived(ChatterError):
    """The conversation is archived; set its status to active before sending to it."""

    def __init__(self, *, conversation_id: str) -> None:
        super().__init__(conversation_id=conversation_id)


class MessageNotLast(ChatterError):
    """More was said after this message; fork the conversation before it, and send the question there."""

    def __init__(self, *, message_id: str, last_message_id: str) -> None:
        super().__init__(message_id=message_id, last_message_id=last_message_id)


class MessageBusy(ChatterError):
    """A run at work answers this message; delete it when the run has ended, or cancel the run."""

    def __init__(self, *, message_id: str, run_id: str) -> None:
        super().__init__(message_id=message_id, run_id=run_id)


class MessageNotRatable(ChatterError):
    """Only messages of the assistant are rated."""

    def __init__(self, *, message_id: str) -> None:
        super().__init__(message_id=message_id)


class ForkTooLarge(ChatterError):
    """There is more to copy than one fork takes; fork at an earlier message."""

    def __init__(self, *, messages: int, max_messages: int, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            messages=str(messages), max_messages=str(max_messages), bytes=str(size_bytes), max_bytes=str(max_bytes)
        )


class ModelUnknown(ChatterError):
    """No configured provider offers this model; GetServerInfo lists those that are there."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


class ImagesNotTaken(ChatterError):
    """The model takes no images; GetServerInfo says which models do."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


class ContextExceeded(ChatterError):
    """The message is longer than the model can read, its answer counted in; shorten it, or choose another model."""

    def __init__(self, *, model: str, estimated_tokens: int, context_tokens: int) -> None:
        super().__init__(model=model, estimated_tokens=str(estimated_tokens), context_tokens=str(context_tokens))


class ResponseSchemaViolated(ChatterError):
    """The model's answer did not keep the response schema, and neither did its second one."""

    def __init__(self, *, model: str) -> None:
        super().__init__(model=model)


class WorkflowNotFound(ChatterError):
    """There is no such workflow."""

    def __init__(self, *, workflow_id: str) -> None:
        super().__init__(workflow_id=workflow_id)
