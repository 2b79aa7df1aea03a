"""Sets up the log: one event a line, and never the content of a call.

Exceptions are logged by type and place. Their messages are not, since they may quote what a user wrote, and neither are
local variables. Other libraries are heard from level warning on, and of what they say only the text that stands in
their code.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import structlog

OWN: Final = "chatter_grpc"
PACKAGE: Final = Path(__file__).resolve().parent.parent
SHOWN_FRAMES: Final = 30
SHOWN_CAUSES: Final = 5
SHOWN_TEXT: Final = 200

Event = MutableMapping[str, Any]
Format = Literal["auto", "json", "console"]


def set_up_logs(level: str = "info", output: Format = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to one stream, stderr unless another one is given.

    ``level`` is ``debug``, ``info``, ``warning`` or ``error`` and holds for Chatter's own; ``output`` is JSON, or for a
    person's eyes, or what fits the stream.
    """
    stream = sys.stderr if stream is None else stream
    number = logging.getLevelNamesMapping()[level.upper()]
    console = output == "console" or (output == "auto" and stream.isatty())
    renderer = structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else structlog.processors.JSONRenderer()
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[structlog.processors.add_log_level, stamp, describe_exception, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.add_log_level, stamp, take_record],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, describe_exception, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OWN).setLevel(number)


def take_record(_: Any, __: str, event: Event) -> Event:
    """Take a record of the standard library: Chatter's own with its facts, another one's by its constant text."""
    record: logging.LogRecord = event["_record"]
    event["logger"] = record.name
    if record.name == OWN or record.name.startswith(f"{OWN}."):
        for name, value in record.__dict__.items():
            if name not in PLAIN_RECORD:
                event[name] = value
    else:
        # Formatted, it could hold anything; and asyncio appends the exceptions of tasks in further lines.
        event["event"] = str(record.msg).partition("\n")[0][:SHOWN_TEXT]
    return event


# What every record has; the rest are the facts that the one who logged gave it.
PLAIN_RECORD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def describe_exception(_: Any, __: str, event: Event) -> Event:
    """Replace an exception by its type, its frames and its causes."""
    info = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = info
    if info is True or isinstance(info, tuple):
        error = sys.exc_info()[1] if info is True else info[1]
    if isinstance(error, BaseException):
        event["exception"] = described(error)
    return event


def described(error: BaseException) -> list[dict[str, Any]]:
    """Return an exception and what caused it, each as its type and its frames, the innermost last."""
    chain: list[dict[str, Any]] = []
    current: BaseException | None = error
    while current is not None and len(chain) < SHOWN_CAUSES:
        kind = type(current)
        frames = [place(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in trace(current)]
        chain.append({"type": f"{kind.__module__}.{kind.__qualname__}", "frames": frames[-SHOWN_FRAMES:]})
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def trace(error: BaseException) -> list[tuple[Any, int]]:
    """Return the frames that an exception passed, with the line in each."""
    return list(traceback.walk_tb(error.__traceback__))


def place(file: str, line: int, function: str) -> str:
    """Return ``file:line function``; Chatter's own files are named from the package's directory on."""
    path = Path(file)
    name = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path
    return f"{name}:{line} {function}"
