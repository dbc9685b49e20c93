"""Differences of features: equality, samples, summaries, and their readable form."""

import math

from flows.compare.differences import (
    Difference,
    FeatureRows,
    equal,
    find_differences,
    limit_evenly,
    readable_values,
    sample_ids,
    summarize_views,
)

IDS = [str(number) for number in range(1000)]
MIDNIGHT = 1_709_251_200_000_000  # 2024-03-01 00:00:00


def rows(*exists, **features) -> FeatureRows:
    return FeatureRows(exists, {("stats", name): values for name, values in features.items()})


def found(left: FeatureRows, right: FeatureRows) -> list[Difference]:
    return find_differences("user", ["a", "b"][: len(left.exists)], left, right)


def words(left, right, feature="spend", labels=None) -> tuple[str, str]:
    return readable_values(Difference("user", "a", "stats", feature, left, right, labels))


def test_sample_does_not_depend_on_the_order_of_the_ids():
    first = sample_ids(IDS, 20, 0)
    assert first == sample_ids(reversed(IDS), 20, 0) == sorted(set(first))
    assert len(first) == 20 and first != sample_ids(IDS, 20, 1)


def test_larger_sample_contains_the_smaller_one():
    assert set(sample_ids(IDS, 20, 0)) < set(sample_ids(IDS, 40, 0))
    assert sample_ids(IDS, 5000, 0) == sorted(IDS)


def test_sample_takes_some_ids_before_all_others():
    first = {"7", "700", "missing"}
    assert first & set(sample_ids(IDS, 2, 0, first)) == {"7", "700"}
    assert {"7", "700"} < set(sample_ids(IDS, 20, 0, first)) < {"7", "700", *sample_ids(IDS, 20, 0)}


def test_floats_are_equal_to_one_part_in_a_billion_and_no_further():
    assert equal(1e6, 1e6 * (1 + 5e-10))
    assert not equal(1e6, 1e6 * (1 + 2e-9))
    assert not equal(0.0, 1e-300)
    assert equal([0.1, 0.2], [0.1 * (1 + 1e-12), 0.2])
    assert equal(math.nan, math.nan)


def test_whole_numbers_texts_and_nulls_are_equal_exactly():
    assert not equal(10**15, 10**15 + 1)
    assert not equal(0, None) and not equal([], None) and not equal("1", 1)
    assert not equal([1, 2], [2, 1]) and not equal([1], [1, 1])


def test_entity_that_exists_on_one_side_only_is_one_difference():
    left, right = rows(True, False, count=[1, None]), rows(True, True, count=[1, 0])
    assert found(left, right) == [Difference("user", "b", "", "known", False, True)]


def test_side_without_a_row_differs_only_where_the_other_has_a_value():
    without_row, with_row = rows(None, count=[None]), rows(True, count=[None])
    assert found(without_row, with_row) == []
    assert found(without_row, rows(True, count=[3])) == [
        Difference("user", "a", "", "known", False, True)
    ]


def test_difference_has_both_values_and_the_ids_of_their_entries():
    left = rows(True, top_ids=[["x"]], top_counts=[[1]], count=[1])
    right = rows(True, top_ids=[["x", "y"]], top_counts=[[1, 2]], count=[1])
    ids, counts = found(left, right)
    assert (ids.feature, ids.left, ids.right, ids.labels) == ("top_ids", ["x"], ["x", "y"], None)
    assert (counts.feature, counts.labels) == ("top_counts", (["x"], ["x", "y"]))


def test_summary_counts_each_entity_once_and_orders_features_by_frequency():
    left = rows(True, True, False, rare=[1, 1, None], often=[1, 1, None])
    right = rows(True, True, True, rare=[1, 2, 5], often=[2, 2, 5])
    every = find_differences("user", ["a", "b", "c"], left, right)
    of_users, of_products = summarize_views(every, {"stats": "user", "sales": "product"})
    assert (of_users.entities, of_users.one_sided) == (3, 1)
    assert list(of_users.features.items()) == [("often", 2), ("rare", 1)]
    assert (of_products.entities, of_products.features) == (0, {})


def test_few_examples_show_every_view():
    many = [Difference("user", str(n), "first", "f", 0, 1) for n in range(50)]
    last = Difference("user", "99", "last", "f", 0, 1)
    shown = limit_evenly([*many, last], 3)
    assert shown == [many[0], many[1], last]


def test_numbers_and_instants_are_formatted_readably():
    assert words(3, None) == ("3", "none")
    assert words(0.5, 0.25) == ("0.5", "0.25")
    assert words(MIDNIGHT, MIDNIGHT + 1, "last_purchase_timestamp") == (
        "2024-03-01 00:00:00",
        "2024-03-01 00:00:00.000001",
    )


def test_floats_have_as_many_digits_as_needed_to_see_the_difference():
    assert words(2.0000001, 2.0000002) == ("2.0000001", "2.0000002")
    assert words(0.1 + 0.2, 0.3) == ("0.30000000000000004", "0.29999999999999999")


def test_lists_show_only_the_entries_that_differ():
    left, right = ["a", "b", "c"], ["a", "c", "d", "e", "f", "g", "h"]
    assert words(left, right) == (
        "3 entries, only here: b",
        "7 entries, only here: d, e, f, g and 1 more",
    )
    assert words([5, 6, 7], [5, 8, 7]) == ("#2: 6", "#2: 8")
    assert words(["a", "b"], ["b", "a"]) == ("#1: a, #2: b", "#1: b, #2: a")
    assert words(None, left) == ("none", "3 entries")


def test_entries_with_ids_are_labeled_by_them():
    labels = (["milk", "bread"], ["bread", "tea", "milk"])
    assert words([1, 2], [2, 4, 3], labels=labels) == ("milk: 1, tea: none", "milk: 3, tea: 4")
    moved = (["milk", "bread"], ["bread", "milk"])
    assert words([1, 2], [2, 1], labels=moved) == ("the same entries", "in another order")
