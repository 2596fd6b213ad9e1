"""The demo from the command line to its last table; see ma_crossover.py."""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from crossover import report
from crossover.paper import trade_on_paper
from crossover.picture import draw_equity
from crossover.research import (
    FIRST_GUESS,
    GRID,
    SYMBOL,
    TIMEFRAME,
    best_of,
    replayed_candles,
    run_backtest,
    try_parameters,
)
from crossover.storing import (
    store_account_figures,
    store_backtest,
    store_optimization,
    store_owner,
)
from crossover.trader import ACCOUNT
from hqt_async_db import (
    ConfigurationError,
    ConnectionFailedError,
    DatabaseManager,
    NotADatabaseError,
    ReadOnlyViolationError,
    SchemaMismatchError,
    StallMonitor,
    StorageFullError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from crossover.paper import Watch
    from crossover.report import Performance
    from crossover.research import BacktestRun, TriedParameters
    from crossover.storing import Owner
    from hqt_async_db import Backtest, Optimization

console = Console()
WORKERS = min(4, max(1, (os.cpu_count() or 1) - 1))  # one core is left to the event loop
PICTURE_TITLE = f"{SYMBOL} {TIMEFRAME}: moving-average crossover, backtests and paper trading"
CENT = Decimal("0.01")
UNUSABLE = (
    ConfigurationError,
    ConnectionFailedError,
    NotADatabaseError,
    ReadOnlyViolationError,
    SchemaMismatchError,
    StorageFullError,
)


@dataclass(frozen=True)
class Study:
    """What research found out, before any of it is stored."""

    first: BacktestRun
    tried: list[TriedParameters]
    best: BacktestRun


@dataclass(frozen=True)
class Stored:
    """The rows that research became."""

    owner: Owner
    first: Backtest
    best: Backtest
    optimization: Optimization


async def research(workers: ProcessPoolExecutor) -> Study:
    """Backtest a first guess, then the whole grid, then the best of it."""
    loop = asyncio.get_running_loop()
    first = await loop.run_in_executor(workers, run_backtest, FIRST_GUESS)
    tried = await asyncio.gather(
        *(loop.run_in_executor(workers, try_parameters, parameters) for parameters in GRID)
    )
    best = await loop.run_in_executor(workers, run_backtest, best_of(tried).parameters)
    return Study(first, tried, best)


async def store(db: DatabaseManager, study: Study) -> Stored:
    """Store the research in one transaction: readers see all of it or none."""
    async with db.session() as session:
        owner = await store_owner(session)
        return Stored(
            owner=owner,
            first=await store_backtest(session, owner, study.first),
            best=await store_backtest(session, owner, study.best),
            optimization=await store_optimization(session, owner, study.tried, study.best),
        )


async def trade(
    db: DatabaseManager, workers: ProcessPoolExecutor, study: Study, owner: Owner
) -> Watch:
    """Trade the candles that research never saw, from the backtest's final equity on."""
    loop = asyncio.get_running_loop()
    parameters = study.best.parameters
    candles = await loop.run_in_executor(workers, replayed_candles, parameters.slow)
    balance = Decimal(str(study.best.equity[-1][1])).quantize(CENT)
    watch = await trade_on_paper(db, owner, parameters, candles, balance)
    async with db.session() as session:
        await store_account_figures(session, owner, ACCOUNT)
    return watch


async def read_accounts(db: DatabaseManager, study: Study, stored: Stored) -> list[Performance]:
    """Read both backtests and the paper account back from the database."""
    first, best = study.first.parameters, study.best.parameters
    return [
        await report.read_backtest(db, f"{first} first guess", stored.first.id),
        await report.read_backtest(db, f"{best} best", stored.best.id),
        await report.read_paper_account(db, f"{best} on paper"),
    ]


async def demo(db: DatabaseManager, workers: ProcessPoolExecutor, picture: Path) -> list[Table]:
    """Run everything; return the tables to print when the loop is over."""
    say("Opening the database")
    await db.create_all()
    await db.warm_up()
    # What was imported by now lives as long as the process. If the garbage collector
    # went on looking at all of it, the loop would stall for 0.1 s every now and then.
    gc.freeze()
    async with StallMonitor() as whole_run:
        say(f"Backtesting {len(GRID)} combinations on real {SYMBOL} candles")
        study = await research(workers)
        say("Storing the research")
        stored = await store(db, study)
        say("Trading the newest candles on paper")
        async with StallMonitor() as trading:
            watch = await trade(db, workers, study, stored.owner)
        say("Reading everything back")
        accounts = await read_accounts(db, study, stored)
        results = await report.best_results(db, stored.optimization.id)
        trades = await report.paper_trades(db)
        counts = await report.count_rows(db)
        first, best, paper = (account.curve for account in accounts)
        await asyncio.get_running_loop().run_in_executor(
            workers, draw_equity, picture, PICTURE_TITLE, first, best, paper
        )
    return [
        report.rows_table(counts),
        report.parameters_table(results, len(GRID)),
        report.performance_table(accounts),
        report.paper_trades_table(trades),
        report.stalls_table(whole_run.report(), trading.report(), watch),
    ]


async def run(url: str, workers: ProcessPoolExecutor, picture: Path) -> list[Table]:
    """Open the database for the demo, and close it whatever happens."""
    async with DatabaseManager(url) as db:
        return await demo(db, workers, picture)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example and return the exit status of the process."""
    options = _parser().parse_args(arguments)
    try:
        with _worker_processes() as workers:
            tables = asyncio.run(run(options.url, workers, options.output))
    except UNUSABLE as error:
        say(f"ma_crossover: {error}", Console(stderr=True))
        return 2
    except KeyboardInterrupt:
        return 130
    for table in tables:
        console.print(table)
    say(f"The equity curves are drawn in {options.output}.")
    return 0


def say(line: str, where: Console = console) -> None:
    """Print one line as it is."""
    where.print(line, highlight=False, markup=False, soft_wrap=True)


def _worker_processes() -> ProcessPoolExecutor:
    os.environ["TQDM_DISABLE"] = "1"  # no progress bars from them, where tqdm is installed
    return ProcessPoolExecutor(
        WORKERS,
        mp_context=multiprocessing.get_context("spawn"),  # a fork would copy locks that are held
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for the parent alone
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ma_crossover.py",
        description="Research and paper-trade a moving-average crossover, stored in a database.",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("HQT_DATABASE_URL") or "sqlite:///hqt.db",
        help="the database (default: HQT_DATABASE_URL, else sqlite:///hqt.db)",
    )
    parser.add_argument(
        "--output",
        type=_picture,
        default=Path("equity.png"),
        help="where to write the picture (default: equity.png)",
    )
    return parser


def _picture(name: str) -> Path:
    """Refuse a bad name now: the picture is drawn when all else is done."""
    path = Path(name)
    if path.suffix != ".png" or not path.parent.is_dir():
        message = f"{name!r} is no .png file in a directory that exists"
        raise argparse.ArgumentTypeError(message)
    return path
