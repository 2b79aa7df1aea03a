"""Asks for an answer until there is one that may stand: of one model after the other, and again for its shape."""

import logging
from typing import Final

from chatter_grpc.core.answering import AnswerRefused, is_cancelled, write_answer
from chatter_grpc.core.budgets import Budget, reserve
from chatter_grpc.core.conversations import ModelSettings
from chatter_grpc.core.errors import (
    BudgetUnpriced,
    ChatterError,
    ContextExceeded,
    ImagesNotTaken,
    ProviderRateLimited,
    ProviderStreamBroken,
    ProviderTimeout,
    ProviderUnavailable,
    ResponseSchemaViolated,
)
from chatter_grpc.core.inquiries import Inquiry, call_for, corrected, request_for
from chatter_grpc.core.messages import ImagePart, Part, text_of
from chatter_grpc.core.models import (
    FinishReason,
    Image,
    ModelCatalogue,
    ModelInfo,
    ModelRequest,
    OfferedModel,
    Role,
    Turn,
)
from chatter_grpc.core.runs.writer import FinishedMessage, StepWriter
from chatter_grpc.core.schemas import AnswerSchemas, check_schema

# The failures after which another model may answer: they are the provider's, and not of what it was asked.
PASSED_ON: Final = (ProviderUnavailable, ProviderRateLimited, ProviderTimeout, ProviderStreamBroken)

_log = logging.getLogger(__name__)


class Asking:
    """Asks models: knows which there are, which come after one that fails, and what checks an answer's schema."""

    def __init__(self, models: ModelCatalogue, schemas: AnswerSchemas) -> None:
        self.models = models
        self._schemas = schemas

    async def check_schema(self, schema: str, owner_id: str = "") -> None:
        """Raise ``FieldInvalid`` where a request's schema cannot be used."""
        await check_schema(self._schemas, schema, owner_id)

    def check(self, settings: ModelSettings, parts: tuple[Part, ...], response_schema: str = "") -> ModelInfo:
        """Return the model that settings name, where it can be asked this by itself.

        Raises ``ModelUnknown``, ``ImagesNotTaken`` and ``ContextExceeded``.
        """
        info = self.models.resolve(settings.model or self.models.default_model).info
        images = tuple(
            Image(media_type=part.media_type, data=part.data or b"") for part in parts if isinstance(part, ImagePart)
        )
        turn = Turn(role=Role.USER, text=text_of(parts), images=images)
        request_for(info, Inquiry(turns=(turn,), settings=settings, response_schema=response_schema))
        return info

    def check_budget(self, budget: Budget, inquiry: Inquiry) -> None:
        """Raise ``BudgetUnpriced`` or ``BudgetExceeded`` where a run could not even begin to answer this."""
        info = self.models.resolve(inquiry.settings.model or self.models.default_model).info
        reserve(budget, (), call_for(info, request_for(info, inquiry)))

    async def write(self, step: StepWriter, inquiry: Inquiry) -> FinishedMessage:
        """Write an answer into ``step`` and return it finished.

        Where a model fails as its provider's fault, what it wrote is discarded, and the next one of its fallbacks is
        asked; one that cannot be asked this is passed over, or whose price would have to be known. Where all fail, the
        last failure is raised. Raises ``ResponseSchemaViolated``, what ``request_for`` raises for the first model, and
        ``BudgetExceeded`` and ``BudgetUnpriced`` where the run's budget does not allow a call.
        """
        name = inquiry.settings.model or self.models.default_model
        model = self.models.resolve(name)
        request = request_for(model.info, inquiry)
        left = list(self.models.fallbacks(name))
        while True:
            try:
                return await self._ask(step, model, request, inquiry)
            except PASSED_ON as failure:
                following = None if is_cancelled() else _next(left, inquiry, step)
                if following is None:
                    raise
                _pass_on(model, following[0], failure)
            model, request = following

    async def _ask(
        self, step: StepWriter, model: OfferedModel, request: ModelRequest, inquiry: Inquiry
    ) -> FinishedMessage:
        """Have one model answer; where its answer does not keep the schema, once more."""
        schema = inquiry.response_schema
        if not schema:
            return await write_answer(step, model, request)

        async def fault_of(answer: str) -> str | None:
            return await self._schemas.fault_of(schema, answer, owner_id=inquiry.owner_id)

        try:
            return await write_answer(step, model, request, fault_of)
        except AnswerRefused as refused:
            _log.info("response_schema_violated", extra={"model": model.info.name})
            if refused.shortage is not None:
                raise refused.shortage from None
            # What was cut off at its limit once will be again.
            if refused.finish_reason is not FinishReason.STOP:
                raise ResponseSchemaViolated(model=model.info.name) from None
            again = corrected(model.info, request, refused.answer, refused.fault)
        try:
            return await write_answer(step, model, again, fault_of)
        except AnswerRefused as second:
            if second.shortage is not None:
                raise second.shortage from None
            raise ResponseSchemaViolated(model=model.info.name) from None


def _next(left: list[OfferedModel], inquiry: Inquiry, step: StepWriter) -> tuple[OfferedModel, ModelRequest] | None:
    """Take models from the list until one can be asked the question."""
    while left:
        model = left.pop(0)
        try:
            step.check_price(model.info)
            return model, request_for(model.info, inquiry)
        except (BudgetUnpriced, ImagesNotTaken, ContextExceeded) as error:
            _log.info("fallback_passed_over", extra={"model": model.info.name, "reason": error.reason})
    return None


def _pass_on(failed: OfferedModel, following: OfferedModel, failure: ChatterError) -> None:
    names = {"model": failed.info.name, "next_model": following.info.name}
    _log.warning("model_fallback", extra={**names, "reason": failure.reason})
