"""SystemService: the server itself."""

from dataclasses import dataclass
from typing import Any

import grpc

from chatter_grpc._gen.chatter.v1 import system_service_pb2 as pb
from chatter_grpc._gen.chatter.v1 import system_service_pb2_grpc
from chatter_grpc.core.models import ModelCatalogue, ModelInfo
from chatter_grpc.core.pages import MAX_SIZE

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What the server tells about itself beside its models."""

    version: str
    registration_open: bool
    max_request_bytes: int


class SystemService(system_service_pb2_grpc.SystemServiceServicer):
    """Serves SystemService."""

    def __init__(self, facts: ServerFacts, models: ModelCatalogue) -> None:
        self._facts = facts
        self._models = models

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> pb.GetServerInfoResponse:
        """Tell version, models and limits."""
        return pb.GetServerInfoResponse(
            version=self._facts.version,
            models=[model_message(info) for info in self._models.list()],
            default_model=self._models.default_model,
            registration_open=self._facts.registration_open,
            max_request_bytes=self._facts.max_request_bytes,
            max_page_size=MAX_SIZE,
        )


def model_message(info: ModelInfo) -> pb.Model:
    """Return a model; what is not known is unset."""
    return pb.Model(
        name=info.name,
        provider=info.provider,
        input_price_micros=None if info.price is None else info.price.input_micros,
        output_price_micros=None if info.price is None else info.price.output_micros,
        context_tokens=info.context_tokens,
        max_output_tokens=info.max_output_tokens,
        takes_images=info.takes_images,
        structured_output=info.structured_output,
    )
