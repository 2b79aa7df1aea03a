"""The benchmark of lists and searches, in its shortest form: it fills in what it says, and finds it."""

import io
import random
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import islice

import pytest
from rich.console import Console
from rich.progress import Progress

from benchmarks.storage.__main__ import Kind, Options, compare_sizes, finding_of
from benchmarks.storage.filling import fill
from benchmarks.storage.measuring import OPERATIONS, Latency, open_site
from benchmarks.storage.population import PER_CONVERSATION, Size, a_query, owner_id, talks
from chatter_grpc.core.callers import Caller
from chatter_grpc.core.message_service import Messages
from chatter_grpc.core.messages import sha256_of
from chatter_grpc.core.pages import PageRequest
from chatter_grpc.core.search import MessageFilter
from chatter_grpc.core.search_query import parse_query
from chatter_grpc.core.search_words import words_of
from chatter_grpc.core.searching import Searches
from tests.support.databases import PostgresDatabases, SqliteFiles

FEW = Size(messages=80, per_owner=40)
OPTIONS = Options(few=40, many=80, per_owner=40, calls=2)


@pytest.fixture
def urls(databases: SqliteFiles | PostgresDatabases) -> Iterator[Mapping[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(databases.empty()) for name in ("few", "many")}


async def test_lists_and_searches_are_measured_on_both_sizes(urls: Mapping[str, str]) -> None:
    kind = Kind.SQLITE if urls["few"].startswith("sqlite") else Kind.POSTGRES
    with Progress(console=Console(file=io.StringIO())) as progress:
        finding = await compare_sizes(kind, urls, OPTIONS, progress)
        assert [task.finished for task in progress.tasks] == [True, True, True]
    assert finding.ratios.keys() == {f"{kind} {operation}" for operation in OPERATIONS}
    measured = finding.figures["operations"]
    assert measured.keys() == OPERATIONS.keys()
    for operation, sizes in measured.items():
        for figures in sizes.values():
            assert 0 < figures["p50_ms"] <= figures["p95_ms"], operation
    assert measured["ListConversations"]["many"]["found"] == 2
    assert measured["ListMessages"]["many"]["found"] == PER_CONVERSATION


async def test_what_was_filled_in_is_what_the_server_would_have_stored(urls: Mapping[str, str]) -> None:
    await fill(urls["few"], FEW, seed=3, advance=lambda _: None)
    first, second = islice(talks(FEW, seed=3), 2)
    assert first.owner_id != second.owner_id
    caller = Caller(actor_id=first.owner_id, owner_id=first.owner_id, session_id="sess_1")
    async with open_site(urls["few"], FEW) as site:
        listed = await Messages(site.storage).list(caller, "conv_" + "0" * 32, PageRequest(), newest_first=False)
        assert [message.text for message in listed.items] == list(first.texts)
        assert all(message.text_sha256 == sha256_of(message.text) for message in listed.items)
        query = parse_query(first.texts[0].split()[0])
        own = [text for talk in talks(FEW, seed=3) if talk.owner_id == first.owner_id for text in talk.texts]
        found = await Searches(site.storage).messages(caller, query.wanted[0].words[0], MessageFilter(), PageRequest())
        assert len(found.items) == sum(query.matches(words_of(text)) for text in own) > 0


def test_owners_have_as_much_whatever_the_size() -> None:
    sizes = [Size(messages=count, per_owner=40) for count in (40, 400)]
    for size in sizes:
        made = list(talks(size, seed=1))
        assert sum(len(talk.texts) for talk in made) == size.messages
        assert {talk.owner_id for talk in made} == {owner_id(number) for number in range(size.owners)}
        assert sum(talk.owner_id == owner_id(0) for talk in made) == size.conversations == 2


def test_every_query_wants_a_word() -> None:
    chance = random.Random(1)
    assert all(parse_query(a_query(chance)).wanted for _ in range(100))


def test_a_bar_is_missed_where_many_take_more_than_three_times_as_long() -> None:
    def found(many: float) -> dict[str, dict[str, Latency]]:
        return {
            "ListMessages": {
                "few": Latency(p50=1, p95=2, found=1),
                "many": Latency(p50=1, p95=many, found=1),
            }
        }

    assert [finding_of(Kind.SQLITE, found(many), OPTIONS).bars[0].met for many in (6.0, 6.1)] == [True, False]
