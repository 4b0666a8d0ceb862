"""Figures of the pages are those of the result files that stand behind them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts_of import SCRIPTS, load_script

figures = load_script("figures")


def test_every_bound_figure_of_the_pages_is_its_files() -> None:
    done = subprocess.run([sys.executable, str(SCRIPTS / "figures.py"), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_figure_that_its_file_does_not_have_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"share": {"of two": [0.5, 0.97654]}}))
    text = "| kept | **0.9**<!--=a.json; share/of two/1; .3f--> of all, 12 %<!--=a.json; share/of two/0; .0%--> |"
    fresh, wrong = figures.bound(text, tmp_path)
    assert fresh == "| kept | **0.977**<!--=a.json; share/of two/1; .3f--> of all, 50%<!--=a.json; share/of two/0; .0%--> |"
    assert not wrong
    assert figures.bound(fresh, tmp_path) == (fresh, [])


def test_a_figure_may_have_an_exponent(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"slope": 1.21e-06}))
    text = "2.5 + 1.3e-05<!--=a.json; slope; .3g--> n"
    fresh, _ = figures.bound(text, tmp_path)
    assert fresh == "2.5 + 1.21e-06<!--=a.json; slope; .3g--> n"
    assert figures.bound(fresh, tmp_path)[0] == fresh


def test_a_figure_without_a_file_a_path_or_a_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"share": 1, "words": "x"}))
    text = "1<!--=b.json; share; .3f--> 2<!--=a.json; rate; .3f--> 3<!--=a.json; words; .3f-->"
    assert [each.partition(" can't")[0] for each in figures.bound(text, tmp_path)[1]] == [
        "b.json; share",
        "a.json; rate",
        "a.json; words",
    ]


def test_a_section_that_promises_it_has_no_other_figures_in_its_tables() -> None:
    table = "| | got | asked |\n| --- | --- | --- |\n| rate | 3<!--=a.json; rate; d--> of 4 | >= 2 |\n"
    assert figures.unbound(f"## One\n{figures.EVERY}\n{table}") == ["4 in 'rate' is bound to no file"]
    assert figures.unbound(f"## One\n{table}") == []


def test_a_result_file_that_a_page_names_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.json").touch()
    text = "`--json benchmarks/results/a.json`, `--json benchmarks/results/b.json`"
    assert figures.absent(text, tmp_path) == ["benchmarks/results/b.json is not there"]
