"""What model calls are settled at whose attempts were lost before they told what they took."""

from collections.abc import Sequence

from chatter_grpc.core.budgets import Reservation
from chatter_grpc.core.models import Price, Role
from chatter_grpc.core.runs.events import (
    AttemptStarted,
    Body,
    DeltaKind,
    Deltas,
    Entry,
    MessageDiscarded,
    MessageStarted,
    UsageReported,
)
from chatter_grpc.core.runs.fold import Fold
from chatter_grpc.core.usage import Usage

PRICE = Price(input_micros=1_000_000, output_micros=2_000_000)
STARTED = MessageStarted("a", Role.ASSISTANT, "p/m", "p", 5, PRICE)
USAGE = Usage(input_tokens=4, output_tokens=3, cost_micros=10)


def a_reservation(message_id: str, settled: Usage | None = None) -> Reservation:
    return Reservation(
        message_id=message_id,
        attempt=1,
        model="p/m",
        input_tokens=5,
        output_tokens=50,
        price=PRICE,
        settled=settled,
    )


def lost(bodies: Sequence[Body], reservations: Sequence[Reservation] = ()) -> list[UsageReported]:
    fold = Fold()
    fold.take(Entry(seq, 1, "1.1", 0, body) for seq, body in enumerate(bodies, 1))
    fold.take_reservations(reservations)
    return fold.lost_calls()


def estimate(output_tokens: int) -> UsageReported:
    usage = Usage(input_tokens=5, output_tokens=output_tokens, cost_micros=5 + 2 * output_tokens, estimated=True)
    return UsageReported("a", "p/m", usage)


def test_it_counts_what_it_was_sent_what_it_wrote_and_what_it_thought() -> None:
    said = Deltas(DeltaKind.TEXT, "a", ("1234", "5678"))
    thought = Deltas(DeltaKind.REASONING, "a", ("12345678",))
    assert lost([STARTED, thought, said]) == [estimate(2 + 2)]


def test_a_new_attempt_makes_the_text_void_and_not_what_it_took() -> None:
    assert lost([STARTED, Deltas(DeltaKind.TEXT, "a", ("1234",)), AttemptStarted()]) == [estimate(1)]


def test_what_has_told_is_not_lost() -> None:
    told = UsageReported("a", "p/m", USAGE)
    assert lost([STARTED, told, MessageDiscarded("a"), AttemptStarted()], [a_reservation("a")]) == []


def test_what_the_ledger_has_been_told_holds_though_the_log_was_not() -> None:
    assert lost([STARTED], [a_reservation("a", USAGE)]) == [UsageReported("a", "p/m", USAGE)]
    assert lost([], [a_reservation("a", USAGE)]) == [UsageReported("a", "p/m", USAGE)]


def test_a_call_that_wrote_nothing_counts_what_it_was_sent_unless_it_gave_that_back() -> None:
    assert lost([], [a_reservation("a"), a_reservation("b", Usage())]) == [estimate(0)]


def test_the_price_of_a_call_in_an_older_log_is_not_known() -> None:
    old = MessageStarted("a", Role.ASSISTANT, "p/m", "p")
    (found,) = lost([old, Deltas(DeltaKind.TEXT, "a", ("1234",))])
    assert found.usage == Usage(output_tokens=1, cost_micros=None, estimated=True)
