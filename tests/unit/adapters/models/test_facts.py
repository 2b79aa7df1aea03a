"""What is known of a model is found by its name, and an operator's file goes before the shipped one."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.facts import ModelEntry, ModelFacts, parse_entries
from chatter_grpc.core.models import ModelInfo, Price, TokenCount

SHIPPED = ModelFacts.load()


def entry(input_micros: int, output_micros: int = 0, noted: str = "2026-01-02") -> dict[str, object]:
    return {"input_micros": input_micros, "output_micros": output_micros, "noted": noted}


def table(**inputs: int) -> ModelFacts:
    """A table of input prices, with ``__`` for the slash and ``_`` for other signs."""
    return ModelFacts(parse(json.dumps({name: entry(price) for name, price in inputs.items()})))


def parse(text: str) -> dict[str, ModelEntry]:
    return parse_entries(text.encode(), file="models-of-mine.json")


def price_of(facts: ModelFacts, model: str) -> Price | None:
    return facts.info_of(model, model.partition("/")[0]).price


def input_price(prices: ModelFacts, model: str) -> int | None:
    price = price_of(prices, model)
    return None if price is None else price.input_micros


def test_a_well_known_model_has_its_price() -> None:
    assert price_of(SHIPPED, "openai/gpt-4o-mini") == Price(input_micros=150_000, output_micros=600_000)


def test_a_call_costs_what_the_price_says() -> None:
    price = price_of(SHIPPED, "openai/gpt-4o")
    assert price is not None
    assert price.cost_micros(TokenCount(1_000, 100)) == 2_500 + 1_000


@pytest.mark.parametrize("model", ["openai/gpt-4o-2024-08-06", "openai/gpt-4o-20240806", "openai/gpt-4o-0806"])
def test_a_dated_edition_costs_what_its_model_does(model: str) -> None:
    assert price_of(SHIPPED, model) == price_of(SHIPPED, "openai/gpt-4o")


def test_a_dated_edition_with_a_price_of_its_own_has_that() -> None:
    assert price_of(SHIPPED, "openai/gpt-4o-2024-05-13") == Price(input_micros=5_000_000, output_micros=15_000_000)


@pytest.mark.parametrize("model", ["openai/o1-pro", "openai/gpt-4o-audio-preview", "openai/gpt-4", "local/gpt-4o", "x"])
def test_a_name_that_only_begins_like_another_has_no_price(model: str) -> None:
    assert price_of(SHIPPED, model) is None


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
    prices = ModelFacts.load(file)
    assert price_of(prices, "openai/gpt-4o") == Price(input_micros=7, output_micros=8)
    assert price_of(prices, "local/llama") == Price(input_micros=0, output_micros=0)
    assert price_of(prices, "openai/o3") == price_of(SHIPPED, "openai/o3")


def test_an_operators_entry_takes_the_place_of_the_whole_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"openai/gpt-4o": {"noted": "2026-01-02", "context_tokens": 5}}))
    info = ModelFacts.load(file).info_of("openai/gpt-4o", "openai")
    assert info == ModelInfo(name="openai/gpt-4o", provider="openai", context_tokens=5)


def test_a_model_is_described_with_all_that_is_known() -> None:
    known = {"context_tokens": 9, "max_output_tokens": 8, "takes_images": True, "structured_output": True}
    facts = ModelFacts(parse(json.dumps({"p/a": entry(1, 2) | known})))
    price = Price(input_micros=1, output_micros=2)
    assert facts.info_of("p/a", "p") == ModelInfo(
        name="p/a",
        provider="p",
        price=price,
        context_tokens=9,
        max_output_tokens=8,
        takes_images=True,
        structured_output=True,
    )
    assert facts.info_of("p/b", "p") == ModelInfo(name="p/b", provider="p")


def test_every_shipped_entry_has_a_date_and_numbers_that_can_be() -> None:
    shipped = Path(__file__).parents[4] / "chatter_grpc/adapters/models/models.json"
    entries = parse_entries(shipped.read_bytes(), file="models.json")
    assert list(entries) == sorted(entries)
    assert {name.partition("/")[0] for name in entries} == {"anthropic", "aws", "google", "mistral", "ollama", "openai"}
    for name, each in entries.items():
        assert 2022 <= each.noted.year <= 2030
        if name.startswith("ollama/"):
            assert (each.input_micros, each.output_micros) == (0, 0)
        else:
            assert (each.max_output_tokens or 0) <= (each.context_tokens or 0) > 0
            assert each.input_micros is None or 0 < each.input_micros < (each.output_micros or 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"p/a": {"input_micros": -1, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": 1.5, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": true, "output_micros": 0, "noted": "2026-01-02"}}', "p/a.*input_micros"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0}}', "p/a.*noted"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0, "noted": "yesterday"}}', "p/a.*noted"),
        ('{"p/a": {"input_micros": 1, "output_micros": 0, "noted": "2026-01-02", "x": 1}}', "p/a.*x"),
        ('{"p/a": {"input_micros": 1, "noted": "2026-01-02"}}', "p/a.*go together"),
        ('{"p/a": {"context_tokens": 0, "noted": "2026-01-02"}}', "p/a.*context_tokens"),
        ('{"p/a": {"max_output_tokens": "many", "noted": "2026-01-02"}}', "p/a.*max_output_tokens"),
        ('{"p/a": {"takes_images": 1, "noted": "2026-01-02"}}', "p/a.*takes_images"),
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
    with pytest.raises(ValueError, match=f"models-of-mine.json: .*{told}"):
        parse(text)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_entries(data, file="x.json")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ModelFacts.load(tmp_path / "none.json")
