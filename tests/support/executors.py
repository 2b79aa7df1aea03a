"""Executors that do one thing and then hang, for tests of what becomes of their runs."""

import asyncio

from chatter_grpc.core.models import FinishReason
from chatter_grpc.core.runs.executor import Work
from chatter_grpc.core.runs.writer import RunWriter
from chatter_grpc.core.usage import Usage
from tests.support.catalogues import MODEL

ONE = Usage(input_tokens=1, output_tokens=2, cost_micros=3)


class Hanging:
    """An executor that does nothing."""

    async def execute(self, work: Work, writer: RunWriter) -> None:
        await asyncio.Event().wait()


class LastMoment:
    """An executor whose only node has finished, and which is slow to say so."""

    def __init__(self) -> None:
        self.done = False

    async def execute(self, work: Work, writer: RunWriter) -> None:
        step = writer.open_step("model", "model")
        message = step.start_message(MODEL, "scripted")
        message.add_text("done")
        message.finish(FinishReason.STOP, ONE)
        step.finish()
        self.done = True
        await asyncio.Event().wait()


class TwoMessages:
    """An executor that finishes one message, begins another one, and hangs there; the next attempt does the second."""

    async def execute(self, work: Work, writer: RunWriter) -> None:
        if work.before is not None:
            assert work.before.finished_nodes == {"first"}
            step = writer.open_step("second", "model")
            again = step.start_message(MODEL, "scripted")
            again.add_text("the rest")
            again.finish(FinishReason.STOP, ONE)
            step.finish()
            return
        first = writer.open_step("first", "model")
        message = first.start_message(MODEL, "scripted")
        message.add_text("whole")
        message.finish(FinishReason.STOP, ONE)
        first.finish()
        second = writer.open_step("second", "model").start_message(MODEL, "scripted")
        second.add_text("half")
        await asyncio.Event().wait()


class Stubborn:
    """An executor that cannot be cancelled until it is let go."""

    def __init__(self) -> None:
        self.cancels = 0
        self.done = False

    async def execute(self, work: Work, writer: RunWriter) -> None:
        while self.cancels < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancels += 1
        self.done = True
