"""Every page under workflow/report: what it wants of a plan, that it is drawn, mistakes in it."""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import PARAMS, ROOT, mistakes, put
from page_reading import Outline, read_csv
from page_records import as_written, made_up

from multistep.files import UserError
from multistep.job import results
from multistep.pages import inputs, load, query, remarks
from multistep.pages.figures import write_figure
from multistep.pages.spec import Spec, kinds, module
from multistep.pages.tables import write_table
from multistep.plan import params
from multistep.plan.schema import Params

REPORT = ROOT / "workflow" / "report"
BASE = params.read(PARAMS)
LOADED = params.validate(BASE)
SCALES = {"paper": LOADED} | {
    overlay.stem: params.load(PARAMS, overlay)
    for overlay in sorted((ROOT / "workflow" / "scales").glob("*.yaml"))
    if (REPORT / overlay.stem).exists()
}
PAGES = {scale: load.pages(REPORT, p) for scale, p in SCALES.items()}
FOUND = [
    (scale, file.parent.name, file.stem)
    for scale in SCALES
    for file in sorted((REPORT if scale == "paper" else REPORT / scale).glob("[tf]*s/*.yaml"))
]


@cache
def _plan(scale: str) -> inputs.Plan:
    return inputs.Plan.of(SCALES[scale])


def plan_of(p: Params) -> inputs.Plan:
    """The plan of a scale, made once; of a changed one anew."""
    return _plan(p.scale) if SCALES.get(p.scale) is p else inputs.Plan.of(p)


def wanted(spec: Spec, p: Params = LOADED) -> list[str]:
    """The files behind a page of a plan."""
    return inputs.results(spec, plan_of(p))


def of(name: str, p: Params = LOADED) -> list[str]:
    pages = PAGES["paper"]
    return wanted((pages["tables"] | pages["figures"])[name], p)


@pytest.mark.parametrize(("scale", "form", "name"), FOUND, ids=map("/".join, FOUND))
def test_every_page_is_drawn_from_results_of_its_plan(
    tmp_path: Path, scale: str, form: str, name: str
) -> None:
    p, spec = SCALES[scale], PAGES[scale][form][name]
    files = wanted(spec, p)
    assert files
    records = made_up(files, plan_of(p))
    write = write_table if form == "tables" else write_figure
    written = {
        path.suffix: path for path in write(tmp_path / name, spec, inputs.context(p), records)
    }
    rows = read_csv(written[".csv"].read_text(encoding="utf-8"))
    for row in rows:
        assert row["scale"] in (scale, "")
    if form == "tables":
        assert all(int(row["n"]) for row in rows if row["section"] == "ours" and row["ours"])
        shown = {(row["row"], row["column"]) for row in rows if row["ours"]}
        assert len(shown) >= len({f.rpartition("/")[0] for f in files if "measure" not in f})
        page = Outline(written[".html"].read_text(encoding="utf-8"))
        assert page.open == []
        assert page.scopes.count("row") >= len({row for row, _ in shown})
        assert written[".tex"].read_text(encoding="utf-8").isascii()
        assert spec.title in written[".md"].read_text(encoding="utf-8")
    else:
        assert rows
        assert all(written[suffix].stat().st_size > 1000 for suffix in (".svg", ".png", ".pdf"))
        assert "nothing" not in written[".svg"].read_text(encoding="utf-8")


def test_made_up_results_of_the_whole_plan_are_as_jobs_write_them() -> None:
    """So that `bench/pages.py` can draw all of its pages from them."""
    plan = plan_of(SCALES["paper"])
    kind = {file: json.loads(cell.json)["kind"] for file, cell in plan.cells.items()}
    files = [f for f in kind if kind[f] == "cell" and f.endswith("/0.json")]
    files += plan.measurements
    for file, record in zip(files, made_up(files, plan), strict=True):
        results.validate(Path(file), as_written(record))


def test_every_file_begins_with_what_it_shows() -> None:
    files = sorted(REPORT.rglob("*.yaml"))
    assert sum(file.parent.name in load.FORMS for file in files) == len(FOUND)
    assert [f for f in files if not f.read_text(encoding="utf-8").startswith("# ")] == []


@pytest.mark.parametrize("form", load.FORMS)
def test_every_kind_is_shown_and_says_how_its_pages_are_read(form: str) -> None:
    assert {spec.kind for pages in PAGES.values() for spec in pages[form].values()} == set(
        kinds(form)
    )
    docs = [module(form, kind).Spec.__doc__ for kind in kinds(form)]
    assert all(docs)
    assert len(set(docs)) == len(docs)


def test_a_table_shows_every_seed_of_its_cells_and_nothing_else() -> None:
    paths = of("table3")
    assert len(paths) == 3 * 6 * 3  # rows, targets, seeds
    assert "results/sgd_32/stl10/scratch/0.json" in paths
    assert "results/adam_224/dog/l2t_multistep/2.json" in paths
    assert not [path for path in paths if "sgd" in path and "scratch" not in path]


def test_a_page_may_show_cells_and_measurements() -> None:
    paths = of("figure4")
    assert paths[-1] == "results/measure/steps/bird.json"
    assert {path.split("/")[1] for path in paths} == {"steps", "adam_224", "measure"}
    assert of("figure3")[0] == "results/measure/adam_32/cifar100.json"
    assert len(of("figure3")) == 6
    paths = of("extended_omniglot_5way")
    assert paths[-2:] == [f"results/measure/5way_{n}shot/omniglot.json" for n in (1, 5)]
    assert not [path for path in paths if "20way" in path]


def test_sizes_are_of_the_datasets_that_the_plan_uses() -> None:
    assert of("table6")[0] == "data/processed/cifar100/dataset.json"
    assert len(of("table6")) == 6
    plan = plan_of(LOADED)
    one = {path: cell for path, cell in plan.cells.items() if cell.dataset == "stl10"}
    table6 = PAGES["paper"]["tables"]["table6"]
    sizes = inputs.results(table6, replace(plan, cells=one, measurements={}))
    assert sizes == ["data/processed/stl10/dataset.json"]


def test_a_page_beyond_the_paper_says_so_once() -> None:
    figure = PAGES["paper"]["figures"]["figure2"]
    assert figure.remark == ""
    beyond = figure.model_copy(update={"beyond": True})
    assert beyond.remark == ". Not in the paper."
    assert beyond.model_copy(update={"title": "Figure 2, beyond the paper"}).remark == ""


def test_a_stand_in_takes_its_dataset_s_place() -> None:
    p = params.validate(params.merge(BASE, {"stand_ins": {"bird": "stl10"}}))
    assert of("table1", p) == ["results/measure/sgd_224/stl10.json"]
    assert "results/sgd_224/stl10/l2t/0.json" in of("figure1", p)


def test_a_page_of_which_nothing_is_computed_wants_nothing() -> None:
    none: dict[str, Any] = {name: {"datasets": []} for name in BASE["experiments"]}
    none["other"] = BASE["experiments"]["5way_1shot"]
    p = params.validate(params.merge(BASE, {"experiments": none}))
    for pages in PAGES["paper"].values():
        for spec in pages.values():
            assert wanted(spec, p) == []


def test_a_scale_s_own_file_adds_a_page_or_stands_over_a_common_one() -> None:
    common, own = (PAGES[scale]["figures"] for scale in ("paper", "dogs32-cpu"))
    assert set(own) - set(common) == {f.stem for f in REPORT.glob("dogs32-cpu/figures/dogs*")}
    assert own["figure1"].title == common["figure1"].title
    assert (own["figure1"].wants().datasets, common["figure1"].wants().datasets) == (
        *(["dogs32"], ["bird"]),
    )


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return Path(shutil.copytree(REPORT, tmp_path / "workflow" / "report"))


# A page, a key of it, what is put there, and the one line that is said.
MISTAKES = """
tables/table2: kind=transfers -> kind: no kind of tables named 'transfers'; did you mean
figures/new: title=x -> kind: missing; known: cost, curves, dri
tables/table2: colums={} -> colums: unknown key; did you mean 'columns'?
tables/table2: methods=[] -> methods: unknown key; known: beyond,
tables/table2: paper/epoch=1 -> paper.epoch: unknown key; did you mean 'epochs'?
figures/figure1: dataset=3 -> dataset: input should be a valid string, got 3
figures/figure1: caption='{dat}' -> caption: unknown placeholder {dat}; known
tables/table4: caption='{data' -> caption: expected '}'
tables/table2: rows/l2t/birds=sgd_224 -> rows.l2t: no column named 'birds'; did you mean
tables/table2: rows/l2t/bird=sgd_25 -> rows.l2t.bird: no experiment named 'sgd_25'; did
tables/table2: sources/bird=resnet -> sources.bird: no source network named 'resnet'
tables/table2: literature/l2t_literature/method=l2tt -> literature.l2t_literature.method: no row
    named 'l2tt'; did you mean 'l2t'?
tables/table1: paper/hours/x=1.0 -> paper.hours: no method named 'x'; known: l2t, l2t_m
tables/table4: paper/inner_lr={maml: {5way: 1.0}} -> paper.inner_lr.maml: no column na
tables/table4: paper/interval_n=x -> paper.interval_n: input should be 'episodes' or 'ep
tables/table4: paper/values/mamll={} -> paper.values: no method named 'mamll'; did you mean
tables/table4: paper/meta_batch={5way_1shot: 32, 5way_5shot: 32, 20way_1shot: 16} -> columns: no
    paper.meta_batch entry named '20way_5shot'
tables/table4: cell_notes={maml: {2way: x}} -> cell_notes.maml: no column named '2way
tables/table4: literature/maml_literature/source=finn -> literature.maml_literature.source
tables/table4: methods=[] -> methods: list should have at least 1 item after validation
figures/figure2: methods=[] -> methods: list should have at least 1 item after validation
tables/table4: methods=[maml, fomaml, maml] -> methods: 'maml' stands there more than once
figures/figure2: panels={} -> panels: dictionary should have at least 1 item after validation
tables/extended_fc100: columns={} -> columns: dictionary should have at least 1 item after
tables/table4: title='' -> title: string should match pattern
tables/table6: rows/birds=x -> rows: no dataset named 'birds'; did you mean 'bird'?
tables/table2: paper/values/l2t_multistep/bird=[64.89] -> paper.values.l2t_multistep.bird: list
    should have at least 2 items
tables/extended_fc100: literature/x={title: '', source: '?', values: {}} -> literatur
tables/extended_fc100: literature/maml_learn2learn/values={cifar_5way_1shot: []} ->
    literature.maml_learn2learn.values.cifar_5way_1shot: list should have at least 1 item
figures/figure4: bars/l2t_3_est/of=l2t_33 -> bars.l2t_3_est.of: no bar named 'l2t_33'; di
figures/figure2: remarks/repti=as many -> remarks: no method named 'repti'; did you mean '
figures/figure4: measured=step -> measured: no experiment named 'step'; did you mean 'step
figures/figure3: experiments/birds=sgd_224 -> experiments: no panel named 'birds'; did you
figures/where_bird: epochs=[0] -> epochs.0: input should be greater than or equal to 1
"""


@pytest.mark.parametrize(("change", "message"), mistakes(MISTAKES))
def test_a_mistake_in_a_page_is_one_line_with_its_file_and_key(
    report: Path, change: str, message: str
) -> None:
    page, _, change = change.partition(": ")
    file = report / f"{page}.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
    put(values, change)
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError) as error:
        load.pages(report, LOADED)
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"  workflow/report/{page}.yaml: {message}")


def test_targets_of_the_workflow_are_no_names_of_pages() -> None:
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = {name for f in files for name in re.findall(r"^ *rule (\w+):", f.read_text(), re.M)}
    assert rules == load.RULES


def test_other_mistakes_in_the_folder_name_the_file(report: Path) -> None:
    for hidden in (".#table4.yaml", "._table4.yaml"):  # of an editor, of macOS
        (report / "tables" / hidden).symlink_to("nowhere")
    load.pages(report, LOADED)
    for name, said in (
        ("train", "a target of the workflow has"),
        ("a (copy)", "the name of a pag"),
    ):
        (file := report / "figures" / f"{name}.yaml").write_text("kind: curves")
        with pytest.raises(UserError, match=re.escape(f"figures/{name}.yaml: {said}")):
            load.pages(report, LOADED)
        file.unlink()
    for name in ("tables/mine.yml", "mine.yaml", "omniglot-cpu/mine.yaml", "table/mine.yaml"):
        (file := report / name).parent.mkdir(exist_ok=True)
        file.write_text("kind: accuracy")
        with pytest.raises(
            UserError, match=f"workflow/report/{name}: read by nothing here; a page"
        ):
            load.pages(report, LOADED)
        file.unlink()
    shutil.copy(report / "figures" / "figure1.yaml", report / "figures" / "table4.yaml")
    with pytest.raises(UserError, match=r"figures/table4\.yaml: a table has this name too; choose"):
        load.pages(report, LOADED)
    (report / "tables" / "table4.yaml").write_text("kind: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"table4\.yaml, line 2: not valid YAML"):
        load.pages(report, LOADED)


@pytest.mark.parametrize("form", load.FORMS)
def test_pages_in_params_yaml_are_refused_with_where_they_belong(form: str) -> None:
    with pytest.raises(
        UserError, match=rf"{form}: .* a page is a file workflow/report/{form}/NAME"
    ):
        params.validate(params.merge(BASE, {form: {}}))


@pytest.mark.parametrize("scale", ["finn2017", "dragen-compat", "omniglot-cpu", "demo"])
def test_no_cell_of_another_scale_is_called_the_paper_s(scale: str) -> None:
    overlay = ROOT / "workflow" / "scales" / f"{scale}.yaml"
    plan, paper = inputs.Plan.of(params.load(PARAMS, overlay)), plan_of(LOADED)
    table4 = PAGES["paper"]["tables"]["table4"]
    found = inputs.context_of(table4, plan, paper).differences
    planned = {(c.experiment, c.method) for c in plan.cells.values()}
    wanted_ = {name for name in table4.wants().cells if (name[0], name[2]) in planned}
    assert set(found) == {"/".join(name) for name in wanted_}
    one = found["5way_1shot/omniglot/maml"]
    assert {
        "finn2017": "inner_lr 2.0 (paper scale: 0.4); inner_steps 1 (paper scale: 8); momentum 0.",
        "dragen-compat": "network.order conv-relu-bn (paper scale: conv-bn-relu); rotate_test Fal",
        "omniglot-cpu": "hold_out_validation True (paper scale: False); iterations 2,000 (paper s",
        "demo": "dataset Drawn characters (stand-in, not Omniglot) (paper scale: Omniglot); ",
    }[scale] in one
    assert inputs.context_of(table4, paper, paper).differences == {}


def test_measured_methods_are_compared_too() -> None:
    table = PAGES["paper"]["tables"]["table1_replay"]
    fewer = params.validate(params.merge(BASE, {"measure": {"batches": 20}}))
    found = inputs.context_of(table, plan_of(fewer), plan_of(LOADED)).differences
    assert found == {
        f"measure/sgd_224_replay/bird/{method}": "measure.batches 20 (paper scale: 200)"
        for method in table.methods
    }


def test_what_pages_expect_is_the_plan_s() -> None:
    plan = plan_of(LOADED)
    files = of("figure4")
    expected = inputs.expectations(files, plan)
    for file in files:
        cell = plan.measurements.get(file) or json.loads(plan.cells[file].json)
        assert query.planned(Path(file), expected) == cell


@pytest.mark.parametrize("seeds", [[0, 1, 2, 7, 9], range(300)], ids=["some", "many"])
def test_what_is_asked_of_a_page_fits_one_argument(seeds: Sequence[int]) -> None:
    """A job's whole command line is one argument of its shell, for which Linux has 128 KiB."""
    plan = inputs.Plan.of(params.validate(params.merge(BASE, {"seeds": list(seeds)})))
    for name, spec in (PAGES["paper"]["tables"] | PAGES["paper"]["figures"]).items():
        files = inputs.results(spec, plan)
        expected = inputs.expectations(files, plan)
        assert list(query.files(expected)) == files
        names = inputs.context_of(spec, plan, plan_of(LOADED))
        parts = [expected, spec.model_dump(exclude_defaults=True), names.model_dump()]
        texts = [json.dumps(part, ensure_ascii=False).encode() for part in parts]
        assert sum(map(len, texts)) < 50_000, name


@pytest.mark.parametrize("scale", sorted(f.parent.name for f in ROOT.glob("scales/*/results")))
def test_committed_results_are_read_and_tabulated(scale: str) -> None:
    p = params.load(PARAMS, ROOT / "workflow" / "scales" / f"{scale}.yaml")
    names, shown = inputs.context(p), 0
    for form, pages in load.pages(REPORT, p).items():
        for spec in pages.values():
            files = [ROOT / "scales" / scale / file for file in wanted(spec, p)]
            given = [query.read(file) for file in files if file.exists()]
            if given:
                assert len(module(form, spec.kind).rows(spec, names, given))
                assert all(remarks.remarks(spec, names, given))
                shown += 1
    assert shown


def test_only_what_is_drawn_is_a_stand_in() -> None:
    packing = {"datasets": {"cache": BASE["datasets"]["miniimagenet"]}}
    real = params.merge(BASE, packing | {"stand_ins": {"miniimagenet": "cache"}})
    assert inputs.context(params.validate(real)).drawn == []
    demo = params.merge(BASE, params.read(ROOT / "workflow" / "scales" / "demo.yaml"))
    context = inputs.context(params.validate(demo))
    assert set(context.stand_ins.values()) == set(context.drawn)
