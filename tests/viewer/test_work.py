"""Tiles are made once, dropped when nobody waits, and ahead of need only in idle time."""

from __future__ import annotations

import threading
import time

import pytest

from hrviz.viewer import work as vw
from hrviz.viewer.work import Busy, TileWork


class Gate:
    """A job that holds a thread until it is opened."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        self.open.wait(10)
        return "gate"


def hold(work: TileWork) -> Gate:
    gate = Gate()
    work.submit(("gate", id(gate)), gate)
    assert gate.entered.wait(5)
    return gate


def test_the_same_tile_is_made_once_for_ten_viewers():
    work = TileWork(2)
    made = []
    gate = Gate()

    def make():
        made.append(1)
        return gate()

    jobs = [work.submit("tile", make) for _ in range(10)]
    gate.open.set()
    assert {job.future.result(5) for job in jobs} == {"gate"}
    assert len(made) == 1 and work.shared == 9


def test_what_nobody_waits_for_is_never_made():
    work = TileWork(1)
    gate = hold(work)
    made = []
    job = work.submit("a", lambda: made.append("a"))
    again = work.submit("a", lambda: made.append("a"))
    other = work.submit("b", lambda: made.append("b"))
    work.leave(job)
    assert not job.future.cancelled()  # one is still waiting
    work.leave(again)
    assert job.future.cancelled() and work.dropped == 1
    gate.open.set()
    other.future.result(5)
    assert made == ["b"]


def test_ahead_of_need_comes_last_one_at_a_time_newest_first():
    work = TileWork(1)
    gate = hold(work)
    order: list[str] = []
    for name in ("old", "new"):
        work.ahead(name, lambda name=name: order.append(name))
    urgent = work.submit("urgent", lambda: order.append("urgent"))
    gate.open.set()
    urgent.future.result(5)
    end = time.monotonic() + 5
    while len(order) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert order == ["urgent", "new", "old"]


def test_wished_then_asked_is_urgent():
    work = TileWork(1)
    gate = hold(work)
    made = []
    work.ahead("x", lambda: made.append("ahead"))
    job = work.submit("x", lambda: made.append("asked"))
    gate.open.set()
    job.future.result(5)
    assert made == ["ahead"] and not work._ahead


def test_wishes_and_waiting_are_bounded(monkeypatch):
    monkeypatch.setattr(vw, "MAX_WAITING", 3)
    work = TileWork(1)
    gate = hold(work)
    for i in range(3 * vw.MAX_AHEAD):
        work.ahead(i, lambda: None)
    assert len(work._ahead) == vw.MAX_AHEAD
    for i in range(3):
        work.submit(("u", i), lambda: None)
    with pytest.raises(Busy):
        work.submit("one more", lambda: None)
    gate.open.set()


def test_an_error_reaches_all_and_the_thread_goes_on():
    work = TileWork(1)

    def broken():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        work.submit("a", broken).future.result(5)
    assert work.submit("b", lambda: 7).future.result(5) == 7
