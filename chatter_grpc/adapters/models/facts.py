"""What is known of models: a table that ships with the product, and an operator's file that overrides it."""

import datetime as dt
import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from chatter_grpc.core.models import ModelInfo, Price

# What a provider adds to a model's name to say which edition of it: a date, long or short.
_SNAPSHOT: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})")

# A model that costs a million dollars for a million tokens is a mistake in the file.
_Micros = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
_Tokens = Annotated[int, msgspec.Meta(ge=1, le=10**9)]


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of a file: what is known of a model, and the date on which that was so.

    Prices are micro-dollars for a million tokens, both or none. ``context_tokens`` bounds question and answer together,
    ``max_output_tokens`` the answer. ``structured_output`` says that the provider keeps answers to a JSON Schema. What
    is left out is not known, or not so.
    """

    noted: dt.date
    input_micros: _Micros | None = None
    output_micros: _Micros | None = None
    context_tokens: _Tokens | None = None
    max_output_tokens: _Tokens | None = None
    takes_images: bool = False
    structured_output: bool = False

    def __post_init__(self) -> None:
        """Refuse half a price."""
        if (self.input_micros is None) is not (self.output_micros is None):
            raise ValueError("input_micros and output_micros go together")


class ModelFacts:
    """What is known of models, by their full names, ``<provider>/<name>``.

    An entry serves its own name and the dated editions of it (``openai/gpt-4o`` also ``openai/gpt-4o-2024-08-06``), but
    no other name that begins the same: ``openai/o1-pro`` costs ten times what ``openai/o1`` does. An entry that ends in
    ``*`` serves all names that begin so. The exact name wins, then the longest entry.
    """

    def __init__(self, entries: Mapping[str, ModelEntry]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, operator_file: Path | None = None) -> "ModelFacts":
        """Read the shipped table, and over it the operator's, entry by entry.

        A file is a JSON object of full names to entries; an entry takes the place of a whole one. Reads files: not for
        the event loop. Raises ``ValueError`` that names the file and the entry which cannot be read, ``OSError`` where
        the file cannot be.
        """
        shipped = importlib.resources.files(__package__).joinpath("models.json")
        entries = parse_entries(shipped.read_bytes(), file="models.json")
        if operator_file is not None:
            entries |= parse_entries(operator_file.read_bytes(), file=str(operator_file))
        return cls(entries)

    def info_of(self, name: str, provider: str) -> ModelInfo:
        """Return the description of a model by its full name; what is not known of it is ``None`` or ``False``."""
        entry = self._entry_of(name)
        if entry is None:
            return ModelInfo(name=name, provider=provider)
        price = None
        if entry.input_micros is not None and entry.output_micros is not None:
            price = Price(input_micros=entry.input_micros, output_micros=entry.output_micros)
        return ModelInfo(
            name=name,
            provider=provider,
            price=price,
            context_tokens=entry.context_tokens,
            max_output_tokens=entry.max_output_tokens,
            takes_images=entry.takes_images,
            structured_output=entry.structured_output,
        )

    def _entry_of(self, model: str) -> ModelEntry | None:
        entry = self._entries.get(model)
        if entry is None and (serving := [name for name in self._entries if _serves(name, model)]):
            return self._entries[max(serving, key=len)]
        return entry


def parse_entries(data: bytes, *, file: str) -> dict[str, ModelEntry]:
    """Read a file of models; raises ``ValueError`` that names the file and the entry."""
    try:
        # The standard library's parser alone tells of names that come twice.
        content = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: is to be an object of model names")  # noqa: TRY004 - a file's content is a value
    entries = {}
    for name, entry in content.items():
        if not re.fullmatch(r"[^/*\s]+/[^*\s]+\*?|[^/*\s]+/\*", name):
            raise ValueError(f"{file}: {name!r}: is to be <provider>/<name>, with * at the end alone")
        try:
            entries[name] = msgspec.convert(entry, ModelEntry)
        except msgspec.ValidationError as error:
            raise ValueError(f"{file}: {name!r}: {error}") from error
    return entries


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def _serves(entry: str, model: str) -> bool:
    if entry.endswith("*"):
        return model.startswith(entry[:-1])
    return model.startswith(entry) and _SNAPSHOT.fullmatch(model, len(entry)) is not None
