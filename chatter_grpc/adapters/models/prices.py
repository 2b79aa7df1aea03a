"""What models cost: a table that ships with the product, and an operator's file that overrides it."""

import datetime as dt
import importlib.resources
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from chatter_grpc.core.models import Price

# What a provider adds to a model's name to say which edition of it: a date, long or short.
_SNAPSHOT: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4})")

# A model that costs a million dollars for a million tokens is a mistake in the file.
_Micros = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class PriceEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An entry of a price file: micro-dollars for a million tokens, and the date on which that was so."""

    input_micros: _Micros
    output_micros: _Micros
    noted: dt.date


class PriceTable:
    """Prices by a model's full name, ``<provider>/<name>``.

    An entry serves its own name and the dated editions of it (``openai/gpt-4o`` also ``openai/gpt-4o-2024-08-06``), but
    no other name that begins the same: ``openai/o1-pro`` costs ten times what ``openai/o1`` does. An entry that ends in
    ``*`` serves all names that begin so. The exact name wins, then the longest entry.
    """

    def __init__(self, entries: Mapping[str, PriceEntry]) -> None:
        self._entries = dict(entries)

    @classmethod
    def load(cls, operator_file: Path | None = None) -> "PriceTable":
        """Read the shipped table, and over it the operator's, entry by entry.

        A file is a JSON object of full names to entries. Reads files: not for the event loop. Raises ``ValueError``
        that names the file and the entry which cannot be read, ``OSError`` where the file cannot be.
        """
        shipped = importlib.resources.files(__package__).joinpath("prices.json")
        entries = parse_prices(shipped.read_bytes(), file="prices.json")
        if operator_file is not None:
            entries |= parse_prices(operator_file.read_bytes(), file=str(operator_file))
        return cls(entries)

    def price_of(self, model: str) -> Price | None:
        """Return a model's price; ``None`` where it is not known."""
        entry = self._entries.get(model)
        if entry is None:
            serving = [name for name in self._entries if _serves(name, model)]
            if not serving:
                return None
            entry = self._entries[max(serving, key=len)]
        return Price(input_micros=entry.input_micros, output_micros=entry.output_micros)


def parse_prices(data: bytes, *, file: str) -> dict[str, PriceEntry]:
    """Read a price file; raises ``ValueError`` that names the file and the entry."""
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
            entries[name] = msgspec.convert(entry, PriceEntry)
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
