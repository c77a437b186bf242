"""What a page says about the records behind it, whatever it shows of them."""

from typing import Any

import pytest
from page_records import Record, Write, few_shot, transfer

from multistep.files import UserError
from multistep.pages import query
from multistep.pages.context import Context


def made(record: Record, **environment: Any) -> Record:
    """The record, sealed (as far as pages look) and made elsewhere."""
    return record | {"schema": 2, "environment": record["environment"] | environment}


def test_rows_of_different_machines_or_versions_are_told(context: Context, write: Write) -> None:
    same = [made(few_shot(seed=0), commit="a" * 40), made(few_shot(seed=1), commit="a" * 40)]
    assert query.remarks(context, same) == []
    mixed = [same[0], made(few_shot(seed=1), torch="2.14.0", commit="b" * 40)]
    mixed.append(made(few_shot(method="multistep8"), cpu="Another CPU"))  # alone in its row
    told = (
        "MAML (ours): its results differ in where they were made: "
        "torch 2.12.0 and 2.14.0; commit aaaaaaa and bbbbbbb."
    )
    assert query.remarks(context, mixed) == [told]
    texts = write(mixed)
    assert all(told in texts[kind] for kind in ("md", "html", "tex"))
    elsewhere = [made(few_shot(seed=0)), made(few_shot("20way_1shot", seed=0), device="A GPU")]
    assert "device cpu and A GPU" in query.remarks(context, elsewhere)[0]


def test_choices_count_their_candidates_and_those_that_diverged(context: Context) -> None:
    chosen = {0.1: None, 0.4: 40.0}
    records = [made(few_shot(seed=seed, chosen=chosen)) for seed in (0, 1)]
    records.append(made(few_shot(method="multistep8", chosen={0.1: 30.0, 0.4: 40.0})))
    assert query.remarks(context, records) == [
        "2 choices by validation among 4 candidates, of which 1 diverged; none of them met a test "
        "class."
    ]


def test_episodes_that_are_not_finite_are_counted(context: Context) -> None:
    record = made(few_shot())
    record["metrics"] |= {"non_finite_episodes": 1}
    (note,) = query.remarks(context, [record, made(few_shot(seed=1))])
    assert note.startswith("1 of 4 test episodes had numbers that aren't finite;")


def test_records_from_before_seals_are_told(context: Context) -> None:
    (note,) = query.remarks(context, [few_shot(), made(few_shot(seed=1))])
    assert note.startswith("1 of 2 records are from before records were sealed")


def test_one_dataset_or_source_of_different_bytes_is_refused() -> None:
    one, other = (made(few_shot(seed=seed), dataset_digest=d * 64) for seed, d in enumerate("ab"))
    query.check_inputs([one, one | {"cell": one["cell"] | {"seed": 2}}])
    message = "5way_1shot/omniglot/maml/0 and 5way_1shot/omniglot/maml/1 were made from different"
    with pytest.raises(UserError, match=f"{message} bytes of omniglot; build the older one again"):
        query.check_inputs([one, other])
    another = {"made_from": {"dataset": "b" * 64}, "schema": 2}
    with pytest.raises(UserError, match=message):
        query.check_inputs([one, few_shot(seed=1) | another])
    first, second = (made(transfer(seed=s), network_digest=d * 64) for s, d in enumerate("ab"))
    with pytest.raises(UserError, match="different bytes of imagenet"):
        query.check_inputs([first, second])
