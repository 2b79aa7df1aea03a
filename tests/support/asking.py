"""What asks models in tests, most of which ask for no schema."""

from chatter_grpc.core.asking import Asking
from chatter_grpc.core.models import ModelCatalogue
from chatter_grpc.core.schemas import AnswerSchemas, SchemaRefused


class WordSchemas:
    """Implements ``AnswerSchemas`` in which a schema is a word that answers have to hold; no word holds a space."""

    async def check(self, schema: str) -> None:
        """See ``AnswerSchemas``."""
        if " " in schema:
            raise SchemaRefused("must be a word")

    async def fault_of(self, schema: str, answer: str) -> str | None:
        """See ``AnswerSchemas``."""
        return None if schema in answer else f"it lacks {schema}"


def asking_of(models: ModelCatalogue, schemas: AnswerSchemas | None = None) -> Asking:
    """Return what asks these models."""
    return Asking(models, schemas or WordSchemas())
