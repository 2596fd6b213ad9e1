"""What the benchmarks conclude from figures; no test looks at how fast anything is."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import cli, comparing, suites
from benchmarks.errors import BenchmarkError, WrongWorkError
from benchmarks.measuring import calls_for, percentiles, rotated
from benchmarks.peers.peer import BARE, BULK, GET, MAPPER, ORM, OURS, ROWS, UPDATE
from benchmarks.profiling import Profile
from benchmarks.report import page
from benchmarks.results import Measurement, Run, SuiteResult, read_json, write_json
from benchmarks.suite import discover
from benchmarks.table import COLUMNS, make_change, make_row, make_rows, normal, values_of
from benchmarks.verdicts import judge, judge_peers, peer_target
from benchmarks.witness import Witness

if TYPE_CHECKING:
    from pathlib import Path

LATENCIES = {"p50": 100.0, "p99": 900.0, "p99.9": 1500.0, "max": 20_000.0}
TAKES_PART = """
from benchmarks.suite import Suite


async def run(bench, result):
    pass


SUITE = Suite(title="One more", about="Dropped in.", run=run)
"""


def measured(subject: str = "hqt_async_db", *rounds: float, kind: str = OURS) -> Measurement:
    figures = rounds or (100.0, 110.0, 90.0)
    return Measurement("SQLite", GET, subject, 1, "op/s", figures, 10, LATENCIES, kind=kind)


def a_run(*measurements: Measurement, name: str = "peers") -> Run:
    verdict = judge("SQLite, get, 1 at once", 0.4, 0.5, "0.5 of bare", at_least=True)
    result = SuiteResult(
        name, list(measurements), [verdict], ["<a note>"], {"get": "└─ f <x>"}, 1.5
    )
    machine = {"cpu": "one & only", "cores": 2}
    return Run("2026-01-02T03:04:05+00:00", machine, {"Python": "3"}, {"rounds": 3}, [result])


class TestSuites:
    def test_those_in_the_folder_are_found(self) -> None:
        assert {"bulk", "drivers", "peers", "scale", "sqlite"} <= set(discover())

    def test_one_more_file_is_one_more_suite(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "dropped_in.py").write_text(TAKES_PART)
        monkeypatch.setattr(suites, "__path__", [*suites.__path__, str(tmp_path)])
        assert discover()["dropped_in"].title == "One more"

    def test_a_file_that_defines_none_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "defines_none.py").write_text("")
        monkeypatch.setattr(suites, "__path__", [str(tmp_path)])
        with pytest.raises(BenchmarkError, match="defines_none"):
            discover()


class TestMeasuring:
    def test_the_median_of_the_rounds_counts(self) -> None:
        assert measured("x", 1.0, 100.0, 2.0).median == 2.0

    @pytest.mark.parametrize(
        ("seconds_per_call", "concurrency", "calls"),
        [(0.001, 1, 400), (0.001, 32, 384), (3.0, 1, 1), (3.0, 32, 32)],
    )
    def test_calls_fill_a_round_and_every_task_has_one(
        self, seconds_per_call: float, concurrency: int, calls: int
    ) -> None:
        assert calls_for(seconds_per_call, 0.4, concurrency) == calls

    def test_percentiles_are_latencies_that_were_seen(self) -> None:
        found = percentiles([number / 1e6 for number in range(1, 1001)])
        assert [round(found[name]) for name in ("p50", "p99", "p99.9", "max")] == [
            500,
            990,
            999,
            1000,
        ]

    def test_everybody_begins_equally_often(self) -> None:
        assert [rotated("abc", number)[0] for number in range(6)] == list("abcabc")
        assert sorted(rotated("abc", 2)) == list("abc")


class TestTable:
    def test_a_seed_makes_the_same_rows(self) -> None:
        assert make_rows(random.Random(7), 5) == make_rows(random.Random(7), 5)

    def test_rows_are_the_same_as_instances_tuples_and_dictionaries(self) -> None:
        row = {"id": 1, **make_row(random.Random(1))}
        as_tuple = tuple(row[column] for column in COLUMNS)
        assert values_of(row) == values_of(as_tuple) == as_tuple

    def test_what_sqlite_stores_is_not_taken_for_a_bool(self) -> None:
        row = {"id": 1, **make_row(random.Random(1))}
        stored = values_of({**row, "is_open": int(row["is_open"])})
        assert normal(stored) != normal(values_of(row))
        assert normal(stored, is_raw=True) == normal(values_of(row))

    def test_the_witness_tells_a_wrong_row(self, tmp_path: Path) -> None:
        with Witness("SQLite", f"sqlite:///{tmp_path / 'bench.db'}") as witness:
            witness.create_table()
            rows = make_rows(random.Random(1), 3)
            witness.fill(rows)
            witness.require_same({"id": 2, **rows[1]}, who="honest")
            changed = {"id": 2, **rows[1], **make_change(random.Random(2))}
            with pytest.raises(WrongWorkError, match="liar"):
                witness.require_same(changed, who="liar")
            with pytest.raises(WrongWorkError, match="found no row"):
                witness.require_same(None, who="liar")

    def test_a_table_grows_without_gaps(self, tmp_path: Path) -> None:
        with Witness("SQLite", f"sqlite:///{tmp_path / 'bench.db'}") as witness:
            witness.create_table()
            for size in (1000, 2500):
                witness.grow(size, random.Random(1))
                assert witness.count() == witness.last_id() == size


class TestProfiles:
    async def test_the_shares_tell_waiting_from_working(self) -> None:
        with Profile() as profile:
            began = time.perf_counter()
            await asyncio.sleep(0.1)
            waited_s = time.perf_counter() - began
            while time.perf_counter() < began + waited_s + 0.05:
                json.dumps([1] * 1000)
            took_s = time.perf_counter() - began
        shares = dict(part.split(" ", 1)[::-1] for part in profile.shares.split(", "))
        share = int(shares["waiting for the database"].rstrip("%"))
        assert share == pytest.approx(100 * waited_s / took_s, abs=13)
        assert "sleep" in profile.text


class TestVerdicts:
    @pytest.mark.parametrize(
        ("operation", "best_orm", "mapper", "target"),
        [
            pytest.param(UPDATE, 40.0, None, 44.0, id="ahead of the best ORM"),
            pytest.param(UPDATE, 95.0, None, 90.0, id="or near the bare driver"),
            pytest.param(UPDATE, None, None, 90.0, id="no ORM takes part"),
            pytest.param(GET, 20.0, None, 50.0, id="at least half of bare"),
            pytest.param(BULK, 20.0, 95.0, 80.0, id="a mapper counts for rows alone"),
            pytest.param(ROWS, 20.0, 60.0, 60.0, id="rows level with the mapper"),
            pytest.param(ROWS, 20.0, 30.0, 40.0, id="whichever is highest"),
        ],
    )
    def test_the_aim(
        self, operation: str, best_orm: float | None, mapper: float | None, target: float
    ) -> None:
        found, basis = peer_target(operation, bare=100.0, best_orm=best_orm, mapper=mapper)
        assert found == pytest.approx(target)
        assert basis

    def test_the_best_of_each_kind_counts(self) -> None:
        (verdict,) = judge_peers(
            [
                measured("bare", 1000.0, kind=BARE),
                measured("slow", 100.0, kind=ORM),
                measured("fast", 600.0, kind=ORM),
                measured("mapper", 900.0, kind=MAPPER),
                measured("hqt_async_db", 650.0),
            ]
        )
        assert verdict.value == pytest.approx(0.65)
        assert verdict.target == pytest.approx(0.66)
        assert not verdict.passed

    def test_without_a_bare_driver_there_is_none(self) -> None:
        assert judge_peers([measured()]) == []

    def test_a_figure_may_have_to_be_small(self) -> None:
        assert judge("p99", 1.4, 1.5, "", at_least=False).passed
        assert not judge("p99", 1.6, 1.5, "", at_least=False).passed


class TestComparing:
    @pytest.mark.parametrize(
        ("new", "verdict"),
        [
            pytest.param((200.0, 210.0, 190.0), comparing.BETTER, id="clearly more"),
            pytest.param((50.0, 55.0, 45.0), comparing.WORSE, id="clearly less"),
            pytest.param((111.0, 111.0, 111.0), comparing.BETTER, id="beyond the threshold"),
            pytest.param((89.9, 89.9, 85.0), comparing.WORSE, id="no round in common"),
            pytest.param((70.0, 70.0, 91.0), comparing.SAME, id="a round in common: noise"),
            pytest.param((112.0, 89.0, 89.5), comparing.SAME, id="within the threshold"),
        ],
    )
    def test_throughput(self, new: tuple[float, ...], verdict: str) -> None:
        old, newer = a_run(measured()), a_run(measured("hqt_async_db", *new))
        (change,) = comparing.compare(old, newer, threshold=0.1)
        assert change.verdict == verdict

    def test_of_a_time_less_is_better(self) -> None:
        old, new = (replace(measured("x", figure), unit="µs") for figure in (100.0, 50.0))
        (change,) = comparing.compare(a_run(old), a_run(new), threshold=0.1)
        assert change.verdict == comparing.BETTER
        assert change.gain == pytest.approx(1.0)

    def test_only_cases_of_both_runs_are_compared(self) -> None:
        assert comparing.compare(a_run(measured("a")), a_run(measured("b")), threshold=0.1) == []


class TestFiles:
    def test_json_comes_back_as_it_was(self, tmp_path: Path) -> None:
        run = a_run(measured(), replace(measured(), size=1000))
        write_json(run, tmp_path / "run.json")
        assert read_json(tmp_path / "run.json") == run

    @pytest.mark.parametrize(
        "content", ["", "{}", '{"format": 99, "suites": []}', "[]", '{"format": 1, "suites": [1]}']
    )
    def test_other_files_are_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(BenchmarkError, match=r"other\.json is not a result"):
            read_json(tmp_path / "other.json")

    @pytest.mark.parametrize("name", ["bulk", "drivers", "peers", "scale", "sqlite"])
    def test_the_page_needs_nothing_else(self, name: str) -> None:
        bare = measured("driver", 500.0, kind=BARE)
        sizes = [replace(measured(), size=size, unit="µs/row") for size in (1000, 10_000)]
        found = sizes if name == "scale" else [measured(), bare]
        html = page.render(a_run(*found, name=name), discover())
        assert not re.findall(r"https?:|//[a-z]|src=|<script|<link|@import|url\(", html)
        assert "<svg" in html
        assert "falls short" in html
        assert "one &amp; only" in html
        assert "&lt;a note&gt;" in html
        assert "└─ f &lt;x&gt;" in html

    def test_a_run_without_figures_has_a_page(self) -> None:
        assert "Notes" in page.render(a_run(), discover())


class TestCommandLine:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["no-such-suite"],
            ["--backend", "Oracle"],
            ["--operation", "no-such-operation"],
            ["--rounds", "0"],
            ["--rounds", "many"],
            ["--no-such-option"],
            ["compare"],
            ["compare", "missing.json", "missing.json"],
        ],
        ids=" ".join,
    )
    def test_wrong_input_is_one_line(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(arguments) == cli.WRONG_INPUT
        assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)

    @pytest.mark.parametrize(("figure", "status"), [(100.0, 0), (300.0, 0), (30.0, cli.REGRESSED)])
    def test_a_regression_is_an_exit_status(
        self, tmp_path: Path, figure: float, status: int
    ) -> None:
        write_json(a_run(measured()), tmp_path / "old.json")
        write_json(a_run(measured("hqt_async_db", figure)), tmp_path / "new.json")
        paths = [str(tmp_path / name) for name in ("old.json", "new.json")]
        assert cli.main(["compare", *paths]) == status

    def test_runs_with_nothing_in_common_cannot_be_compared(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("a", "b"):
            write_json(a_run(measured(name)), tmp_path / name)
        assert cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == cli.WRONG_INPUT
        assert "no case in common" in capsys.readouterr().err

    def test_help_names_the_commands(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--help"]) == 0
        assert {"run", "compare", "suites"} <= set(capsys.readouterr().out.split())
