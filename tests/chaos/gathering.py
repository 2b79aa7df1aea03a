"""Gathers what is known of runs that are over: from the API, from the database, and from the provider."""

import hashlib
import time
from collections.abc import Mapping, Sequence

from chatter_grpc._gen.chatter.v1 import chat_service_pb2, run_pb2, run_service_pb2
from tests.chaos.callers import Callers
from tests.chaos.checker import Evidence
from tests.chaos.disasters import Happened
from tests.chaos.readers import Seen, patiently
from tests.chaos.rows import Rows
from tests.chaos.servers import Fleet


async def gather(
    fleet: Fleet,
    callers: Callers,
    graph: str,
    seen: Mapping[str, Sequence[Seen]],
    happened: Sequence[Happened],
) -> list[Evidence]:
    """Return what is known of the runs of these names, each with what its readers saw; without a reader, nothing."""
    run_ids = {tag: readers[0].run_id for tag, readers in seen.items() if readers}
    runs = await Rows(fleet.url).runs(list(run_ids.values()))
    found = []
    for tag, run_id in run_ids.items():
        request = run_service_pb2.GetRunRequest(run_id=run_id)
        shown = (await patiently(callers.runs().GetRun, request, callers.metadata)).run
        messages, hashes_match = await _messages(callers, shown.conversation_id)
        found.append(
            Evidence(
                tag=tag,
                graph=graph,
                run=runs[run_id],
                messages=messages,
                hashes_match=hashes_match,
                state=run_pb2.RunState.Name(shown.state).removeprefix("RUN_STATE_").lower(),
                output_tokens=shown.usage.output_tokens,
                estimated=shown.usage.estimated,
                seen=seen[tag],
                calls=fleet.provider.calls_of(tag),
                happened=happened,
                wall_offset=time.time() - time.monotonic(),
            )
        )
    return found


async def left_over(fleet: Fleet) -> list[str]:
    """Return what is wrong with the fleet as a whole once all runs are over."""
    ((left,),) = await Rows(fleet.url).query(
        "SELECT count(*) FROM runs WHERE state IN ('pending', 'running') AND conversation_id IS NOT NULL"
    )
    faults = [f"{left} runs are left running"] if left else []
    return faults + [f"the provider refused a request: {each}" for each in fleet.provider.refused]


async def _messages(callers: Callers, conversation_id: str) -> tuple[dict[str, str], bool]:
    """Return the texts of a conversation's answers by their ids, and whether all have their hashes."""
    request = chat_service_pb2.ListMessagesRequest(conversation_id=conversation_id, page_size=1000)
    messages = (await patiently(callers.chat().ListMessages, request, callers.metadata)).messages
    answers = [message for message in messages if message.model]
    texts = {message.id: "".join(part.text.text for part in message.parts) for message in answers}
    match = all(hashlib.sha256(texts[message.id].encode()).hexdigest() == message.text_sha256 for message in answers)
    return texts, match and len(messages) == len(answers) + 1
