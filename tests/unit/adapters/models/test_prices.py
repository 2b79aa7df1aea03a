"""Prices are found by a model's name, and an operator's file goes before the shipped one."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.prices import PriceEntry, PriceTable, parse_prices
from chatter_grpc.core.models import Price, TokenCount

SHIPPED = PriceTable.load()


def entry(input_micros: int, output_micros: int = 0, noted: str = "2026-01-02") -> dict[str, object]:
    return {"input_micros": input_micros, "output_micros": output_micros, "noted": noted}


def table(**inputs: int) -> PriceTable:
    """A table of input prices, with ``__`` for the slash and ``_`` for other signs."""
    return PriceTable(parse(json.dumps({name: entry(price) for name, price in inputs.items()})))


def parse(text: str) -> dict[str, PriceEntry]:
    return parse_prices(text.encode(), file="prices-of-mine.json")


def input_price(prices: PriceTable, model: str) -> int | None:
    price = prices.price_of(model)
    return None if price is None else price.input_micros


def test_a_well_known_model_has_its_price() -> None:
    assert SHIPPED.price_of("openai/gpt-4o-mini") == Price(input_micros=150_000, output_micros=600_000)


def test_a_call_costs_what_the_price_says() -> None:
    price = SHIPPED.price_of("openai/gpt-4o")
    assert price is not None
    assert price.cost_micros(TokenCount(1_000, 100)) == 2_500 + 1_000


@pytest.mark.parametrize("model", ["openai/gpt-4o-2024-08-06", "openai/gpt-4o-20240806", "openai/gpt-4o-0806"])
def test_a_dated_edition_costs_what_its_model_does(model: str) -> None:
    assert SHIPPED.price_of(model) == SHIPPED.price_of("openai/gpt-4o")


def test_a_dated_edition_with_a_price_of_its_own_has_that() -> None:
    assert SHIPPED.price_of("openai/gpt-4o-2024-05-13") == Price(input_micros=5_000_000, output_micros=15_000_000)


@pytest.mark.parametrize("model", ["openai/o1-pro", "openai/gpt-4o-audio-preview", "openai/gpt-4", "local/gpt-4o", "x"])
def test_a_name_that_only_begins_like_another_has_no_price(model: str) -> None:
    assert SHIPPED.price_of(model) is None


def test_the_exact_name_wins_then_the_longest_entry() -> None:
    prices = table(**{"p/*": 1, "p/a*": 2, "p/a-b": 3, "p/a-b-c": 4})
    assert input_price(prices, "p/a-b-c") == 4
    assert input_price(prices, "p/a-b-2026-01-02") == 3
    assert input_price(prices, "p/a-b-other") == 2
    assert input_price(prices, "p/other") == 1
    assert input_price(prices, "q/other") is None


def test_an_operators_entry_goes_before_the_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"openai/gpt-4o": entry(7, 8), "local/*": entry(0)}))
    prices = PriceTable.load(file)
    assert prices.price_of("openai/gpt-4o") == Price(input_micros=7, output_micros=8)
    assert prices.price_of("local/llama") == Price(input_micros=0, output_micros=0)
    assert prices.price_of("openai/o3") == SHIPPED.price_of("openai/o3")


def test_every_shipped_entry_has_a_date_and_costs_something() -> None:
    shipped = Path(__file__).parents[4] / "chatter_grpc/adapters/models/prices.json"
    entries = parse_prices(shipped.read_bytes(), file="prices.json")
    assert len(entries) > 10
    for name, each in entries.items():
        assert name.startswith("openai/")
        assert 2022 <= each.noted.year <= 2030
        assert 0 < each.input_micros < each.output_micros


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"p/a": {"input_micros": -1, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": 1.5, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": true, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0}}', "p/a.*noted"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0, "noted": "yesterday"}}', "p/a.*noted"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0, "noted": "2026-01-02", "x": 1}}', "p/a.*x"),
        ('{"p/a": 5}', "p/a"),
        ('{"a": {}}', "'a'"),
        ('{"p/*x": {}}', r"p/\*x"),
        ('{"p/a": {}, "p/a": {}}', "p/a.*twice"),
        ("[]", "object"),
        ("{", "line 1"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_entry(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"prices-of-mine.json: .*{told}"):
        parse(text)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_prices(data, file="x.json")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PriceTable.load(tmp_path / "none.json")
