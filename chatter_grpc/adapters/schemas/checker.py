"""Checks schemas and answers in worker processes, which start when they are needed and are used again."""

import asyncio
import json
import os
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from chatter_grpc.adapters.schemas import worker
from chatter_grpc.adapters.schemas.places import Places
from chatter_grpc.adapters.schemas.worker import LENGTH_BYTES
from chatter_grpc.core.schemas import SchemaRefused

# A process bounds its own work by processor time; this is for one that does not get any, or does not start.
_WALL_SECONDS: Final = 30.0
_TOO_MUCH: Final = "takes longer to check, or more memory, than there is for it"


class WorkerLost(Exception):
    """The process ended or said nothing instead of answering."""


class WorkerBroken(Exception):
    """The process did not even start: something is wrong with the installation or the machine."""


class SchemaChecker:
    """Implements ``AnswerSchemas`` with jsonschema, at most ``workers`` checks at a time; others wait in turn."""

    def __init__(self, *, workers: int = 2, wall_seconds: float = _WALL_SECONDS) -> None:
        self._wall_seconds = wall_seconds
        self._places = Places(workers)
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="schemas")
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._closed = False

    async def check(self, schema: str, *, owner_id: str = "") -> None:
        """Raise ``SchemaRefused`` unless the text is a schema that can be used; see ``AnswerSchemas``."""
        fault = await self._ask(schema, None, owner_id)
        if fault is not None:
            raise SchemaRefused(fault)

    async def fault_of(self, schema: str, answer: str, *, owner_id: str = "") -> str | None:
        """Return what keeps an answer from keeping a schema; see ``AnswerSchemas``."""
        return await self._ask(schema, answer, owner_id)

    async def close(self) -> None:
        """End the processes; checks under way find a fault."""
        with self._lock:
            self._closed = True
            for busy in self._busy:
                busy.interrupt()
            idle, self._idle = self._idle, []
        for each in idle:
            each.kill()
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    async def _ask(self, schema: str, answer: str | None, owner_id: str) -> str | None:
        request = json.dumps({"schema": schema, "answer": answer}).encode()
        async with self._places.place(owner_id):
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask_worker, request)

    def _ask_worker(self, request: bytes) -> str | None:
        with self._lock:
            each = self._idle.pop() if self._idle else Worker()
            self._busy.add(each)
            if self._closed:
                each.interrupt()
        fault: str | None = _TOO_MUCH
        alive = False
        try:
            fault, alive = each.ask(request, self._wall_seconds), True
        except WorkerLost:
            if not (each.started or self._closed):
                raise WorkerBroken from None
        finally:
            with self._lock:
                self._busy.remove(each)
                kept = alive and not self._closed
                if kept:
                    self._idle.append(each)
            if not kept:
                each.kill()
        return fault


class Worker:
    """One process. Its methods block: they are for threads."""

    def __init__(self) -> None:
        # Nothing of this process goes along: neither its environment, which may hold secrets, nor a terminal's signals.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own program
            [sys.executable, "-I", str(Path(worker.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.started = False
        os.set_blocking(self._in.fileno(), False)

    @property
    def process_id(self) -> int:
        """The process's id."""
        return self._process.pid

    def ask(self, request: bytes, seconds: float) -> str | None:
        """Return the fault that the process finds, within a time; raises ``WorkerLost``."""
        deadline = time.monotonic() + seconds
        try:
            if not self.started:
                self._read(LENGTH_BYTES, deadline)
                self.started = True
            self._write(len(request).to_bytes(LENGTH_BYTES, "big") + request, deadline)
            size = int.from_bytes(self._read(LENGTH_BYTES, deadline), "big")
            reply = json.loads(self._read(size, deadline))
        except OSError as error:
            raise WorkerLost from error
        fault: str | None = reply["fault"]
        return fault

    def interrupt(self) -> None:
        """End the process, whatever it does, without waiting for that; who asks it finds it lost."""
        self._process.kill()

    def kill(self) -> None:
        """End the process and give back what it took."""
        self.interrupt()
        self._process.wait()
        self._in.close()
        self._out.close()

    def _write(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            self._wait(self._in.fileno(), select.POLLOUT, deadline)
            view = view[os.write(self._in.fileno(), view) :]

    def _read(self, size: int, deadline: float) -> bytes:
        data = b""
        while len(data) < size:
            self._wait(self._out.fileno(), select.POLLIN, deadline)
            piece = os.read(self._out.fileno(), size - len(data))
            if not piece:
                raise WorkerLost
            data += piece
        return data

    def _wait(self, number: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(number, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise WorkerLost
