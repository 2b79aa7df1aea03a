"""Catalogues of models for tests: names with what streams them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chatter_grpc.core.errors import ModelUnknown
from chatter_grpc.core.models import ChatModel, ModelInfo, OfferedModel, Price

MODEL = "scripted/model"
PRICE = Price(input_micros=1_000_000, output_micros=2_000_000)


class Catalogue:
    """Implements ``ModelCatalogue`` over chats by their full names; the first is the default."""

    def __init__(
        self,
        chats: Mapping[str, ChatModel],
        price: Price | None = PRICE,
        *,
        fallbacks: Mapping[str, Sequence[str]] | None = None,
        **facts: Any,
    ) -> None:
        """Take chats by the parts of their names that come after ``scripted/``, and what holds for all of them."""
        self._fallbacks = fallbacks or {}
        self._models = {
            f"scripted/{name}": OfferedModel(
                info=ModelInfo(name=f"scripted/{name}", provider="scripted", price=price, **facts), chat=chat
            )
            for name, chat in chats.items()
        }

    def know(self, name: str, **facts: Any) -> None:
        """Change what is known of a model."""
        known = self._models[name]
        self._models[name] = replace(known, info=replace(known.info, **facts))

    @property
    def default_model(self) -> str:
        """The first name."""
        return next(iter(self._models))

    def list(self) -> Sequence[ModelInfo]:
        """See ``ModelCatalogue``."""
        return [self._models[name].info for name in sorted(self._models)]

    def resolve(self, name: str) -> OfferedModel:
        """See ``ModelCatalogue``."""
        if name not in self._models:
            raise ModelUnknown(model=name)
        return self._models[name]

    def fallbacks(self, name: str) -> Sequence[OfferedModel]:
        """See ``ModelCatalogue``."""
        return [self._models[each] for each in self._fallbacks.get(name, ())]
