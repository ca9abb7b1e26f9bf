from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.lanes import OTHER_FILES
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.session import Session
from mergeit_async.errors import UsageError
from tests.calling import PRICE, lane

URLS = ("http://127.0.0.1:8/v1", "http://127.0.0.1:9/v1,rpm=60")


@asynccontextmanager
async def open_session(folder: Path) -> AsyncIterator[Session]:
    """A session over two servers, the second with a rate of its own."""
    flags = {"dataset": Path("rows.jsonl"), "model": "m", "base_url": URLS, "max_in_flight": 8}
    settings = build_settings(flags | {"max_cost": 1.0, "price_in": 1, "price_out": 1})
    async with open_journal(folder / "journal.db") as journal:
        yield Session(settings, Limiter([lane(), lane(rpm=60)]), journal)


def state(session: Session) -> tuple[Any, ...]:
    lanes = session.limiter.lanes
    return (
        [each.window.ceiling for each in lanes],
        [each.requests.per_minute for each in lanes],
        [each.tokens.per_minute for each in lanes],
        session.budget.cap,
        session.caller.timeout_s,
    )


BEFORE = ([8, 8], [None, 60], [None, None], 1.0, 80.0)


async def test_each_server_takes_the_new_limits_unless_it_has_its_own(tmp_path):
    async with open_session(tmp_path) as session:
        assert state(session) == BEFORE
        session.tune({"rpm": 600, "tpm": 90_000, "max_in_flight": 32})
        session.tune({"max_cost": 2.5, "timeout_s": 9.0})
        # Changes are those to the settings of the run: what is not among them is as it began.
        assert state(session) == ([8, 8], [None, 60], [None, None], 2.5, 9.0)
        session.tune({"rpm": 600, "tpm": 90_000, "max_in_flight": 32})
        assert state(session) == ([32, 32], [600, 60], [90_000, 90_000], 1.0, 80.0)


async def test_the_breaker_follows_the_places_that_tuning_opens(tmp_path):
    async with open_session(tmp_path) as session:
        assert session.caller._breaker.in_flight == 16
        session.tune({"max_in_flight": 32})
        assert session.caller._breaker.in_flight == 64


@pytest.fixture
def few_files() -> Iterator[None]:
    """A low limit of open files that may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_files")
async def test_the_limit_of_open_files_follows_the_places_that_tuning_opens(tmp_path):
    async with open_session(tmp_path) as session:
        session.tune({"max_in_flight": 300})
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft >= 2 * 300 + OTHER_FILES


@pytest.mark.parametrize("changes", [{"rpm": 0}, {"max_in_flight": -1}, {"max_cost": 0.0}])
async def test_a_value_that_will_not_do_changes_nothing(tmp_path, changes):
    async with open_session(tmp_path) as session:
        with pytest.raises(UsageError, match="will not do"):
            session.tune({"timeout_s": 5.0} | changes)
        assert state(session) == BEFORE


async def test_a_cap_is_refused_where_a_server_has_no_price(tmp_path):
    async with open_session(tmp_path) as session:
        session.limiter.lanes[0]._prices = {}
        with pytest.raises(UsageError, match="--price-in"):
            session.tune({"max_cost": 5.0})
        session.limiter.lanes[0]._prices = {"m": PRICE}
        session.tune({"max_cost": 5.0})
        assert session.budget.cap == 5.0


async def test_those_who_wait_for_a_slot_or_money_go_on_with_the_new_limits(tmp_path):
    async with open_session(tmp_path) as session:
        for each in session.limiter.lanes:
            each.is_out = each is session.limiter.lanes[1]
        await session.budget.reserve(1.0)
        for _ in range(8):
            await session.limiter.acquire(1)

        async with anyio.create_task_group() as tasks:
            with anyio.fail_after(5):
                tasks.start_soon(session.limiter.acquire, 1)
                tasks.start_soon(session.budget.reserve, 1.0)
                await anyio.sleep(0.05)
                assert (session.limiter.in_flight, session.budget.reserved) == (8, 1.0)
                session.tune({"max_in_flight": 9, "max_cost": 2.0})

        assert (session.limiter.in_flight, session.budget.reserved) == (9, 2.0)
