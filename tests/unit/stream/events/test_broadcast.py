import asyncio

from stream.events.broadcast import MAX_WAITING, Broadcast


def test_nobody_listens() -> None:
    Broadcast[int]().publish(1)


def test_each_listener_hears_everything_from_its_start() -> None:
    async def scenario() -> tuple[int, int, int]:
        broadcast = Broadcast[int]()
        first = broadcast.subscribe()
        broadcast.publish(1)
        second = broadcast.subscribe()
        broadcast.publish(2)
        return await anext(first), await anext(first), await anext(second)

    assert asyncio.run(scenario()) == (1, 2, 2)


def test_a_slow_listener_loses_the_oldest_and_knows() -> None:
    async def scenario() -> tuple[int, int]:
        broadcast = Broadcast[int]()
        slow = broadcast.subscribe()
        for item in range(MAX_WAITING + 3):
            broadcast.publish(item)
        return await anext(slow), slow.dropped

    assert asyncio.run(scenario()) == (3, 3)


def test_a_closed_listener_hears_no_more() -> None:
    async def scenario() -> bool:
        broadcast = Broadcast[int]()
        gone = broadcast.subscribe()
        gone.close()
        gone.close()
        broadcast.publish(1)
        task = asyncio.ensure_future(anext(gone))
        await asyncio.sleep(0)
        is_waiting = not task.done()
        task.cancel()
        return is_waiting

    assert asyncio.run(scenario())
