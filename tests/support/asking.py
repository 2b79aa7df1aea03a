"""What asks models in tests, most of which ask for no schema."""

from chatter_grpc.core.asking import Asking
from chatter_grpc.core.models import ModelCatalogue
from chatter_grpc.core.schemas import AnswerSchemas, SchemaRefused


class WordSchemas:
    """Implements ``AnswerSchemas`` in which a schema is a word that answers have to hold; no word holds a space.

    ``owners`` are those whose schemas and answers were checked, in order.
    """

    def __init__(self) -> None:
        self.owners: list[str] = []

    async def check(self, schema: str, *, owner_id: str = "") -> None:
        """See ``AnswerSchemas``."""
        self.owners.append(owner_id)
        if " " in schema:
            raise SchemaRefused("must be a word")

    async def fault_of(self, schema: str, answer: str, *, owner_id: str = "") -> str | None:
        """See ``AnswerSchemas``."""
        self.owners.append(owner_id)
        return None if schema in answer else f"it lacks {schema}"


def asking_of(models: ModelCatalogue, schemas: AnswerSchemas | None = None) -> Asking:
    """Return what asks these models."""
    return Asking(models, schemas or WordSchemas())
