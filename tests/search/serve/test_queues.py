"""Visitors take turns before the threads of the server."""

import threading

import anyio
import pytest
from starlette.exceptions import HTTPException

from tempme_jax.search.serve.queues import Threads


def ask_in_order(threads, asks, leave=()):
    """Ask for work as each visitor in `asks` in turn, behind a first call that blocks.

    Returns the visitors in the order in which they were answered, and those that were refused.
    """
    answered, refused, go_on = [], [], threading.Event()

    async def ask(visitor, work):
        try:
            await threads.run(visitor, work)
        except HTTPException as error:
            assert error.status_code == 503
            refused.append(visitor)

    async def main():
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "first", go_on.wait)
            await anyio.wait_all_tasks_blocked()
            for visitor in leave:
                with anyio.move_on_after(0.01):
                    await ask(visitor, lambda: answered.append("a visitor who left"))
            for visitor in asks:
                group.start_soon(ask, visitor, lambda visitor=visitor: answered.append(visitor))
                await anyio.sleep(0)
            go_on.set()

    anyio.run(main)
    return answered, refused


def test_who_asks_for_much_does_not_keep_others_waiting():
    answered, refused = ask_in_order(Threads(1, 8), ["greedy"] * 6 + ["other"] * 2)
    assert answered == ["greedy", "other"] * 2 + ["greedy"] * 4 and not refused


def test_places_are_counted_by_visitor_and_in_all():
    threads = Threads(1, 2)
    answered, refused = ask_in_order(threads, ["greedy"] * 5 + ["other"])
    assert sorted(answered) == ["greedy"] * 3 + ["other"] and refused == ["greedy"] * 2
    crowd = [f"visitor {number}" for number in range(12)]
    answered, refused = ask_in_order(threads, crowd)
    assert (answered, refused) == (crowd[:8], crowd[8:])
    assert not threads.visitors and not threads.lines and threads.free == 1


def test_who_leaves_gives_up_the_turn():
    threads = Threads(1, 8)
    answered, _ = ask_in_order(threads, ["other", "other"], leave=["impatient", "other"])
    assert answered == ["other", "other"]
    assert not threads.visitors and not threads.lines and threads.free == 1


@pytest.mark.parametrize("error", [ValueError, HTTPException])
def test_an_error_gives_the_thread_back(error):
    threads = Threads(1, 8)

    def fail():
        raise error(404) if error is HTTPException else error

    with pytest.raises(error):
        anyio.run(threads.run, "a", fail)
    assert threads.free == 1 and not threads.places.taken
