"""Work that is waited for in the task that asked, and reaches its end if that is cancelled."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from hqt_async_db.connection import stepping, tasks

if TYPE_CHECKING:
    from collections.abc import Callable


class Driver:
    """Answers when it is told to, as often as it is asked.

    Attributes:
        asked: What is waited for, one after the other.
        tasks: Where each answer arrived.
        seen: What arrived instead of an answer.
    """

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[str]] = []
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.seen: BaseException | None = None

    async def ask(self, times: int = 1) -> str:
        answer = "nothing"
        for _ in range(times):
            future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            self.asked.append(future)
            try:
                answer = await future
            except BaseException as error:
                self.seen = error
                raise
            self.tasks.append(asyncio.current_task())
        return answer

    async def answer(self, number: int) -> None:
        """Answer once, and let who waits for that go on."""
        self.asked[number].set_result(f"answer {number}")
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
def driver() -> Driver:
    """One that nobody has asked."""
    return Driver()


_variable = ContextVar("_variable", default="outside")
Attending = tuple["asyncio.Future[str]", "asyncio.CancelledError | None"]


async def attending(
    work: Any, timeout_s: float | None = None, hasten: Callable[[], object] | None = None
) -> asyncio.Task[Attending]:
    """Begin to attend ``work``, until it waits."""
    attend = stepping.attend(work, name="work", timeout_s=timeout_s, hasten=hasten)
    task = asyncio.create_task(attend)
    await asyncio.sleep(0)
    return task


async def test_what_need_not_wait(driver: Driver) -> None:
    outcome, cancelled = await stepping.attend(driver.ask(times=0), name="work")
    assert (outcome.result(), cancelled) == ("nothing", None)


async def test_one_answer_arrives_in_the_task_that_asked(driver: Driver) -> None:
    task = await attending(driver.ask())
    driver.asked[0].set_result("answer")
    outcome, cancelled = await task
    assert (outcome.result(), cancelled) == ("answer", None)
    assert driver.tasks == [task]


async def test_further_answers_arrive_in_a_task_of_its_own(driver: Driver) -> None:
    task = await attending(driver.ask(times=3))
    for number in range(3):
        await driver.answer(number)
    outcome, _ = await task
    assert outcome.result() == "answer 2"
    assert [found is task for found in driver.tasks] == [True, False, False]


async def test_to_let_others_run_is_to_wait() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "result"

    outcome, _ = await stepping.attend(work(), name="work")
    assert outcome.result() == "result"


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_an_error_is_the_outcome(driver: Driver, times: int) -> None:
    async def work() -> str:
        await driver.ask(times)
        msg = "mine"
        raise LookupError(msg)

    task = await attending(work())
    for number in range(times):
        await driver.answer(number)
    outcome, _ = await task
    with pytest.raises(LookupError, match="mine"):
        outcome.result()


async def test_an_error_arrives_where_it_is_waited_for(driver: Driver) -> None:
    task = await attending(driver.ask())
    driver.asked[0].set_exception(ConnectionResetError("gone"))
    outcome, _ = await task
    assert outcome.exception() is driver.seen
    assert isinstance(driver.seen, ConnectionResetError)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_caller_waits_for_the_outcome(driver: Driver, times: int) -> None:
    hastened: list[int] = []
    task = await attending(driver.ask(times), hasten=lambda: hastened.append(len(driver.asked)))
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    assert hastened == [1]
    for number in range(times):
        await driver.answer(number)
    outcome, cancelled = await task
    assert outcome.result() == f"answer {times - 1}"
    assert isinstance(cancelled, asyncio.CancelledError)
    assert driver.seen is None


async def test_anyio_cancels_again_and_again_to_no_avail(driver: Driver) -> None:
    hastened: list[bool] = []
    asyncio.get_running_loop().call_later(0.05, lambda: driver.asked[0].set_result("answer"))
    with anyio.CancelScope() as scope:
        scope.cancel()
        outcome, cancelled = await stepping.attend(
            driver.ask(), name="work", hasten=lambda: hastened.append(True)
        )
        assert outcome.result() == "answer"
        assert cancelled is not None
        raise cancelled
    assert hastened == [True]
    assert scope.cancelled_caught


@pytest.mark.parametrize("times", [1, 2])
async def test_what_does_not_end_in_time_is_given_up(driver: Driver, times: int) -> None:
    owner = object()
    task = asyncio.create_task(
        stepping.attend(driver.ask(times), name="work", owner=owner, timeout_s=0.02)
    )
    await asyncio.sleep(0)
    for number in range(times - 1):
        await driver.answer(number)
    outcome, cancelled = await task
    assert not outcome.done() or outcome.cancelled()
    assert cancelled is None
    assert driver.asked[-1].cancelled()  # which a driver can see
    await tasks.drain(owner)
    assert isinstance(driver.seen, asyncio.CancelledError)


@pytest.mark.parametrize("times", [1, 2])
async def test_draining_waits_for_it(driver: Driver, times: int) -> None:
    owner = object()
    task = asyncio.create_task(stepping.attend(driver.ask(times), name="work", owner=owner))
    await asyncio.sleep(0)
    draining = asyncio.create_task(tasks.drain(owner))
    for number in range(times):
        await asyncio.sleep(0)
        assert tasks.are_running(owner)
        assert not draining.done()
        await driver.answer(number)
    await draining
    assert not tasks.are_running(owner)
    await task


async def test_the_end_of_the_program_is_no_outcome(driver: Driver) -> None:
    """Nor does anybody wait for it."""
    owner = object()
    attend = stepping.attend(driver.ask(), name="work", owner=owner)
    attend.send(None)
    assert tasks.are_running(owner)
    with pytest.raises(SystemExit):
        attend.throw(SystemExit)
    await asyncio.wait_for(tasks.drain(owner), 1)
    assert not tasks.are_running(owner)


async def test_what_cannot_be_hastened_is_waited_for(driver: Driver) -> None:
    def fail() -> None:
        msg = "cannot"
        raise LookupError(msg)

    task = await attending(driver.ask(), hasten=fail)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    await driver.answer(0)
    outcome, cancelled = await task
    assert outcome.result() == "answer 0"
    assert isinstance(cancelled, asyncio.CancelledError)


async def test_what_is_hastened_in_vain_is_given_up_after_one_grace(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "GRACE_S", 0.05)
    calls: list[None] = []
    task = await attending(driver.ask(), 0.01, lambda: calls.append(None))
    outcome, cancelled = await asyncio.wait_for(task, 1)
    await asyncio.wait([outcome])
    assert outcome.cancelled()
    assert cancelled is None
    assert len(calls) == 1
    assert isinstance(driver.seen, asyncio.CancelledError)


@pytest.mark.parametrize("times", [1, 2])
async def test_what_it_sets_in_its_context_is_its_own(driver: Driver, times: int) -> None:
    seen: list[str] = []

    async def work() -> None:
        token = _variable.set("inside")
        await driver.ask(times)
        seen.append(_variable.get())
        _variable.reset(token)

    task = await attending(work())
    for number in range(times):
        await driver.answer(number)
    outcome, _ = await task
    assert outcome.exception() is None
    assert seen == ["inside"]
    await stepping.attend(work_that_sets(), name="work")
    assert _variable.get() == "outside"


async def work_that_sets() -> None:
    _variable.set("left behind")
