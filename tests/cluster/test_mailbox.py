"""The mailbox's rules for failures and wishes; how it works with real actors is tested in tests/ray."""

from __future__ import annotations

import asyncio

from ray_advpose.cluster.mailbox import Assignment, Mailbox, Refusal, Report

WORK = Assignment("trial", 0, {}, "data", "output", None, "checkpoints")


def report(**more):
    return Report("trial", 0, {}, more.pop("checkpoint", None), more.pop("done", False), **more)


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, timeout=5)


def test_a_group_that_starts_again_gets_the_checkpoint_saved_last():
    async def run():
        mailbox = Mailbox()
        await mailbox.assign(WORK)
        assert (await soon(mailbox.next_assignment())).checkpoint is None
        await mailbox.saved("trial", 0, "checkpoints/step_000000010")
        await mailbox.saved("another", 0, "checkpoints/step_000000099")
        return await soon(mailbox.next_assignment())

    assert asyncio.run(run()).checkpoint == "checkpoints/step_000000010"


def test_starts_that_come_to_nothing_are_counted_and_those_with_a_checkpoint_are_not():
    async def run():
        mailbox = Mailbox(max_failures=2)
        await mailbox.assign(WORK)
        for number in range(20):
            await soon(mailbox.next_assignment())
            await mailbox.saved("trial", 0, f"step {number}")
        for _ in range(2):
            await soon(mailbox.next_assignment())
        await mailbox.failed("RuntimeError: out of luck")
        fruitless = asyncio.ensure_future(mailbox.next_assignment())
        answer = await soon(mailbox.next_report())
        assert not fruitless.done()
        await mailbox.close()
        assert await soon(fruitless) is None
        return answer

    answer = asyncio.run(run())
    assert answer == Refusal(
        "the workers died 3 times without reaching a checkpoint in between; the last error: RuntimeError: out of luck",
        users_mistake=False,
    )


def test_a_start_with_another_number_of_workers_is_no_failure():
    async def run():
        mailbox = Mailbox(max_failures=1)
        await mailbox.assign(WORK)
        for workers in (1, 2, 3, 2, 1, 4):
            assert await soon(mailbox.next_assignment(workers=workers)) == WORK

    asyncio.run(run())


def test_who_has_refused_an_assignment_waits_for_the_next():
    async def run():
        mailbox = Mailbox()
        await mailbox.assign(WORK)
        await soon(mailbox.next_assignment())
        await mailbox.refuse(Refusal("a shard is cut off", users_mistake=True))
        waiting = asyncio.ensure_future(mailbox.next_assignment())
        assert (await soon(mailbox.next_report())).reason == "a shard is cut off"
        assert not waiting.done()
        await mailbox.dismiss()
        await mailbox.assign(WORK)
        assert await soon(waiting) == WORK

    asyncio.run(run())


def test_a_wish_to_stop_lasts_until_the_assignment_is_left():
    async def run():
        mailbox = Mailbox()
        await mailbox.assign(WORK)
        await soon(mailbox.next_assignment())
        assert not await mailbox.stop_wanted()
        await mailbox.ask_to_stop()
        assert await mailbox.stop_wanted()
        told = asyncio.ensure_future(mailbox.report(report(cut=True, checkpoint="step 5")))
        assert (await soon(mailbox.next_report())).cut
        await mailbox.dismiss()
        assert not await soon(told)
        assert not await mailbox.stop_wanted()

    asyncio.run(run())
