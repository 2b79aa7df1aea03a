"""The cases of the fold that clients in every language share."""

import json
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import ParseDict

from chatter_grpc._gen.chatter.v1.run_service_pb2 import WatchRunResponse

FILE: Final = Path(__file__).resolve().parents[2] / "clients" / "fold_cases.json"
CASES: Final[dict[str, Any]] = {case["name"]: case for case in json.loads(FILE.read_text())["cases"]}
GOOD: Final = [name for name, case in CASES.items() if "fault" not in case]
BAD: Final = [name for name, case in CASES.items() if "fault" in case]


def frames_of(case: str) -> list[Any]:
    """Return the frames of a case, each a ``WatchRunResponse``, as the server has it and the client too."""
    return [ParseDict(frame, WatchRunResponse()) for frame in CASES[case]["frames"]]


def events_of(case: str) -> list[Any]:
    """Return the events of a case one after the other, for one without a snapshot."""
    return [event for frame in frames_of(case) for event in frame.events]


def expected(case: str) -> list[tuple[str, str, bool]]:
    """Return the messages that a case amounts to: id, text, and whether it is finished."""
    return [(each["id"], each["text"], each["finished"]) for each in CASES[case]["messages"]]
