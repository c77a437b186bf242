"""What a page says about the records behind it, whatever it shows of them."""

from typing import Any

import pytest
from page_reading import Write, figure_spec
from page_records import Record, few_shot, few_shot_times, transfer

from multistep.files import UserError
from multistep.pages import query, remarks
from multistep.pages.context import Context
from multistep.pages.spec import Spec


def made(record: Record, **environment: Any) -> Record:
    """The record, made elsewhere."""
    return record | {"environment": record["environment"] | environment}


def test_rows_of_different_machines_or_versions_are_told(
    spec: Spec, context: Context, write: Write
) -> None:
    same = [made(few_shot(seed=0), commit="a" * 40), made(few_shot(seed=1), commit="a" * 40)]
    assert remarks.remarks(spec, context, same) == []
    mixed = [same[0], made(few_shot(seed=1), torch="2.14.0", commit="b" * 40)]
    mixed.append(made(few_shot(method="multistep8"), cpu="Another CPU"))  # alone in its row
    told = (
        "MAML (ours): results differ in where they were made: "
        "torch 2.12.0 and 2.14.0; commit aaaaaaa and bbbbbbb."
    )
    assert remarks.remarks(spec, context, mixed) == [told]
    texts = write(mixed)
    assert all(told in texts[kind] for kind in ("md", "html", "tex"))
    elsewhere = [made(few_shot(seed=0)), made(few_shot("20way_1shot", seed=0), device="A GPU")]
    assert "device A GPU and cpu" in remarks.remarks(spec, context, elsewhere)[0]


def test_choices_count_their_candidates_and_those_that_diverged(
    spec: Spec, context: Context
) -> None:
    chosen = {0.1: None, 0.4: 40.0}
    records = [made(few_shot(seed=seed, chosen=chosen)) for seed in (0, 1)]
    records.append(made(few_shot(method="multistep8", chosen={0.1: 30.0, 0.4: 40.0})))
    assert remarks.remarks(spec, context, records) == [
        "2 choices by validation among 4 candidates, of which 1 diverged; none of them met a test "
        "class."
    ]


def test_seeds_of_different_choices_are_refused(context: Context, write: Write) -> None:
    """Though both chose the same value: its candidates are shown as those of the cell."""
    records = [few_shot(seed=i, chosen={0.1: 30.0 + i, 0.4: 40.0}) for i in range(2)]
    with pytest.raises(UserError, match=r"maml/0 and .*maml/1 rest on different choices"):
        write(records)


def test_episodes_that_are_not_finite_are_counted(spec: Spec, context: Context) -> None:
    record = made(few_shot())
    record["metrics"] |= {"non_finite_episodes": 1}
    (note,) = remarks.remarks(spec, context, [record, made(few_shot(seed=1))])
    assert note.startswith("1 of 4 test episodes had numbers that aren't finite;")


def test_records_of_uncommitted_code_are_told(spec: Spec, context: Context) -> None:
    changed = [made(few_shot(seed=seed), dirty=seed > 0) for seed in range(3)]
    (note,) = remarks.remarks(spec, context, changed)
    assert note == "2 of 3 records were made by code that differed from its commit."


def of(record: Record, **digests: str) -> Record:
    """The record, made from other bytes."""
    return record | {"made_from": record["made_from"] | {k: d * 64 for k, d in digests.items()}}


def test_one_dataset_or_source_of_different_bytes_is_refused() -> None:
    one, other = (of(few_shot(seed=seed), dataset=digest) for seed, digest in enumerate("ab"))
    query.check_inputs([one, of(few_shot(seed=2), dataset="a")])
    message = "5way_1shot/omniglot/maml/0 and 5way_1shot/omniglot/maml/1 were made from different"
    with pytest.raises(UserError, match=f"{message} bytes of omniglot; build the older one again"):
        query.check_inputs([one, other])
    first, second = (of(transfer(seed=seed), network=d) for seed, d in enumerate("ab"))
    with pytest.raises(UserError, match="different bytes of imagenet"):
        query.check_inputs([first, second])


def test_copies_of_another_seed_are_refused() -> None:
    same = {"parameters": {"file": "0.safetensors", "digest": "e" * 64}}
    copies = [few_shot(seed=seed) | same for seed in range(2)]
    with pytest.raises(UserError, match=r"maml/0 and .*maml/1 have the same trained parameters"):
        query.check_inputs(copies)
    one, two = (few_shot(seed=seed) for seed in (0, 2))
    copy = two | {"history": one["history"]}  # and of edited numbers, too
    with pytest.raises(UserError, match=r"maml/0 and .*maml/2 have the same history; one of them"):
        query.check_inputs([one, copy | {"metrics": {**copy["metrics"], "test_accuracy": 49.0}}])


def test_the_memory_of_methods_that_move_the_head_alone_is_explained(context: Context) -> None:
    spec = figure_spec({
        "kind": "cost", "title": "Cost", "caption": "x", "dataset": "omniglot",
        "panels": {"5way_1shot": "5-way 1-shot"}, "methods": ["maml", "anil", "memory_reduced"],
    })  # fmt: skip
    heads = ("anil", "memory_reduced")
    rows = [(method, 8, [1.0], 10**8) for method in ("maml", *heads)]
    common = {"options": {"cache_features": True}, "scheme": "keep"}
    timed = few_shot_times(rows=rows, settings=dict.fromkeys(heads, common))
    for method in heads:
        timed["cell"]["methods"][method]["algorithm"] = method
    (held,) = remarks.remarks(spec, context, [timed])
    assert held.startswith("anil and memory_reduced: the graphs of one support and one query pass")
    for method in heads:
        timed["cell"]["methods"][method]["settings"]["scheme"] = "replay"
    (again,) = remarks.remarks(spec, context, [timed])
    assert again.startswith("anil and memory_reduced: the support pass is computed once more")
    fewer = spec.model_copy(update={"methods": ["maml"]})
    assert remarks.remarks(fewer, context, [timed]) == []
