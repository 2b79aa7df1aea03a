"""Characters that a provider splits between deltas come out whole."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chatter_grpc.adapters.models.surrogates import SurrogateJoiner

HALF_AND_WHOLE = st.text(
    alphabet=st.one_of(st.characters(codec="utf-8"), st.characters(categories=["Cs"])), max_size=20
)


def join(pieces: list[str]) -> str:
    joiner = SurrogateJoiner()
    return "".join([joiner.feed(piece) for piece in pieces] + [joiner.end()])


def halves(text: str) -> list[str]:
    """The text's UTF-16 units, each as a string."""
    units = text.encode("utf-16-le")
    return [units[at : at + 2].decode("utf-16-le", "surrogatepass") for at in range(0, len(units), 2)]


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_text_split_into_all_its_halves_comes_out_as_it_was(text: str) -> None:
    assert join(halves(text)) == text


@settings(deadline=None)
@given(st.lists(HALF_AND_WHOLE.filter(bool)))
def test_no_half_ever_comes_out_and_cutting_makes_no_difference(pieces: list[str]) -> None:
    joiner = SurrogateJoiner()
    said = [joiner.feed(piece) for piece in pieces]
    for piece in [*said, joiner.end()]:
        piece.encode()
    assert join(pieces) == join(["".join(pieces)])


def test_half_a_character_waits_for_the_other_half() -> None:
    joiner = SurrogateJoiner()
    assert joiner.feed("a\ud83d") == "a"
    assert joiner.feed("\ude00b") == "\U0001f600b"
    assert joiner.end() == ""


def test_a_half_that_stays_alone_is_replaced() -> None:
    assert join(["a\ud83d", "b"]) == "a\ufffdb"
    assert join(["\ude00"]) == "\ufffd"
    assert join(["a\ud83d"]) == "a\ufffd"
