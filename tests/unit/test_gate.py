"""The gate in front of the writers of a SQLite file."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from hqt_async_db import DatabaseLockedError, NestedSessionError
from hqt_async_db.connection.backends.sqlite.gate import WriteGate, gate_of
from hqt_async_db.connection.usage import Usage, current_usage

PATIENT_S = 10.0


async def enter_as(gate: WriteGate, purpose: str, timeout_s: float = PATIENT_S) -> None:
    current_usage.set(Usage(purpose))
    await gate.enter(timeout_s)


async def test_first_come_first_served() -> None:
    gate = WriteGate()
    order: list[int] = []

    async def write(number: int) -> None:
        await gate.enter(PATIENT_S)
        order.append(number)
        await asyncio.sleep(0)
        gate.leave()

    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(write(number)))
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert order == list(range(20))


async def test_a_newcomer_does_not_overtake_who_was_just_let_in() -> None:
    gate = WriteGate()
    await gate.enter(PATIENT_S)
    order: list[str] = []

    async def write(name: str, timeout_s: float) -> None:
        await gate.enter(timeout_s)
        order.append(name)
        gate.leave()

    waiting = asyncio.create_task(write("waiting", PATIENT_S))
    await asyncio.sleep(0)
    gate.leave()
    await asyncio.gather(waiting, write("newcomer", PATIENT_S))
    assert order == ["waiting", "newcomer"]


async def test_a_newcomer_in_between_has_a_timeout_too() -> None:
    gate = WriteGate()
    await gate.enter(PATIENT_S)

    async def hold() -> None:
        await gate.enter(PATIENT_S)
        await asyncio.Event().wait()

    holder = asyncio.create_task(hold())
    await asyncio.sleep(0)
    gate.leave()  # the holder is next, but does not run yet
    with pytest.raises(DatabaseLockedError):
        await gate.enter(0.05)
    holder.cancel()
    await asyncio.wait([holder])


async def test_the_error_names_the_holder() -> None:
    gate = WriteGate()
    await asyncio.create_task(enter_as(gate, "a session of mine"), name="the writer")
    assert gate.holder is not None
    with pytest.raises(DatabaseLockedError) as caught:
        await gate.enter(0.02)
    for part in ("a session of mine", "'the writer'", __file__, "0.02 s"):
        assert part in str(caught.value)
    gate.leave()
    assert gate.holder is None


async def test_a_task_does_not_wait_for_itself() -> None:
    gate = WriteGate()
    await enter_as(gate, "a session of mine")
    with pytest.raises(NestedSessionError, match="a session of mine"):
        await gate.enter(PATIENT_S)
    gate.leave()
    await gate.enter(PATIENT_S)


@pytest.mark.parametrize("was_let_in", [False, True])
async def test_who_is_cancelled_lets_the_next_one_in(was_let_in: bool) -> None:  # noqa: FBT001 - a parameter of the test
    gate = WriteGate()
    await gate.enter(PATIENT_S)
    cancelled = asyncio.create_task(gate.enter(PATIENT_S))
    behind = asyncio.create_task(gate.enter(PATIENT_S))
    await asyncio.sleep(0)
    if was_let_in:
        gate.leave()
    cancelled.cancel()
    await asyncio.wait([cancelled])
    if not was_let_in:
        assert not behind.done()
        gate.leave()
    await behind
    assert cancelled.cancelled()


async def test_leaving_from_another_thread() -> None:
    gate = WriteGate()
    await gate.enter(PATIENT_S)
    waiting = asyncio.create_task(gate.enter(PATIENT_S))
    await asyncio.sleep(0)
    thread = threading.Thread(target=gate.leave_from_any_thread)
    thread.start()
    await waiting
    await asyncio.to_thread(thread.join)


def test_leaving_a_closed_loop() -> None:
    async def enter() -> WriteGate:
        gate = WriteGate()
        await gate.enter(PATIENT_S)
        return gate

    asyncio.run(enter()).leave_from_any_thread()


async def test_one_gate_per_file_and_loop() -> None:
    gate = gate_of("/one")
    assert gate_of("/one") is gate
    assert gate_of("/other") is not gate

    async def elsewhere() -> WriteGate:
        return gate_of("/one")

    assert await asyncio.to_thread(asyncio.run, elsewhere()) is not gate


def test_a_loop_at_the_place_of_a_gone_one_has_its_own_gate() -> None:
    """A gate that was left shut in a loop that crashed must shut out nobody."""

    async def shut() -> WriteGate:
        gate = gate_of("/one")
        await gate.enter(PATIENT_S)
        return gate

    async def enter() -> None:
        await gate_of("/one").enter(0.05)

    kept = []
    for _ in range(5):  # a new loop often takes the address of the one before
        kept.append(asyncio.run(shut()))
        gc.collect()
        asyncio.run(enter())
    assert len({id(gate) for gate in kept}) == 5
