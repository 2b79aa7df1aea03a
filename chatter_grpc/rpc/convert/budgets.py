"""Budgets of runs, from and to the contract."""

from chatter_grpc._gen.chatter.v1 import run_pb2
from chatter_grpc.core.budgets import Budget
from chatter_grpc.rpc.convert.times import duration, milliseconds_of


def budget_of(message: run_pb2.Budget, field: str) -> Budget:
    """Return the budget in a field of a request; raises ``FieldInvalid``."""
    return Budget(
        max_tokens=message.max_tokens if message.HasField("max_tokens") else None,
        max_cost_micros=message.max_cost_micros if message.HasField("max_cost_micros") else None,
        max_milliseconds=(
            milliseconds_of(message.max_duration, f"{field}.max_duration") if message.HasField("max_duration") else None
        ),
    )


def budget_message(budget: Budget) -> run_pb2.Budget:
    """Return a budget."""
    return run_pb2.Budget(
        max_tokens=budget.max_tokens,
        max_cost_micros=budget.max_cost_micros,
        max_duration=duration(budget.max_milliseconds),
    )
