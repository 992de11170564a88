"""The arithmetic behind the panel: sums, limits, absolute counts."""

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifier.classes import ALL_CLASSES, REPORTING_ORDER
from classifier.intervals import clopper_pearson
from specimens.differential import differential, percentages

# Exact 95% limits in per cent by observed percentage and number of cells, from published tables.
LIMITS: dict[int, dict[int, tuple[float, float]]] = {
    0: {100: (0, 3.6), 200: (0, 1.8), 400: (0, 0.9), 1000: (0, 0.4)},
    1: {100: (0, 5.4), 200: (0.1, 3.6), 400: (0.3, 2.5), 1000: (0.5, 1.8)},
    5: {100: (1.6, 11.3), 200: (2.4, 9.0), 400: (3.1, 7.6), 1000: (3.7, 6.5)},
    20: {100: (12.7, 29.2), 200: (14.7, 26.2), 400: (16.2, 24.3), 1000: (17.6, 22.6)},
    50: {100: (39.8, 60.2), 200: (42.9, 57.1), 400: (45.0, 55.0), 1000: (46.9, 53.1)},
}
# A slow machine is no fault of the arithmetic.
at_leisure = settings(deadline=None)
COUNTS = st.lists(st.integers(0, 100_000), min_size=1, max_size=14)


@pytest.mark.parametrize(
    ("percent", "trials", "limits"),
    [(percent, n, limits) for percent, row in LIMITS.items() for n, limits in row.items()],
)
def test_limits_equal_the_published_table(
    percent: int, trials: int, limits: tuple[float, float]
) -> None:
    found = clopper_pearson(percent * trials // 100, trials)
    assert tuple(round(100 * limit, 1) for limit in found) == limits


def test_limits_of_nothing_and_of_everything() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    lower, upper = clopper_pearson(30, 30)
    assert upper == 1.0
    # Where every cell agrees, the lower limit has a closed form: (alpha / 2) ** (1 / n).
    assert lower == pytest.approx(0.025 ** (1 / 30), abs=1e-12)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="received 6"):
        clopper_pearson(6, 5)


def _tail(first: int, last: int, trials: int, p: float) -> float:
    """P(first <= X <= last) of a binomial, summed term by term."""
    return math.fsum(
        math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(first, last + 1)
    )


@at_leisure
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_limits_are_where_each_tail_holds_a_fortieth(case: tuple[int, int]) -> None:
    successes, trials = case
    lower, upper = clopper_pearson(successes, trials)
    assert 0 <= lower <= successes / trials <= upper <= 1
    if successes > 0:
        assert _tail(successes, trials, trials, lower) == pytest.approx(0.025, rel=1e-6)
    if successes < trials:
        assert _tail(0, successes, trials, upper) == pytest.approx(0.025, rel=1e-6)


@at_leisure
@given(COUNTS, st.integers(0, 3))
def test_percentages_sum_to_exactly_100(counts: list[int], places: int) -> None:
    found = percentages(counts, places)
    assert sum(found) == (100 if sum(counts) else 0)
    unit = Decimal(1).scaleb(-places)
    for count, percent in zip(counts, found, strict=True):
        exact = Decimal(100 * count) / max(sum(counts), 1)
        assert abs(percent - exact) < unit
        assert percent == percent.quantize(unit)


@at_leisure
@given(COUNTS)
def test_a_larger_count_never_has_the_smaller_percentage(counts: list[int]) -> None:
    found = percentages(counts)
    ranked = sorted(zip(counts, found, strict=True))
    assert [percent for _, percent in ranked] == sorted(found)


@at_leisure
@given(st.dictionaries(st.sampled_from([c.key for c in ALL_CLASSES]), st.integers(0, 500)))
def test_only_white_cells_make_the_denominator(counts: dict[str, int]) -> None:
    found = differential(counts, Decimal("7.2"))
    white = sum(counts.get(c.key, 0) for c in ALL_CLASSES if c.is_wbc)
    assert found.counted == white == sum(row.count for row in found.rows)
    assert found.unidentified == counts.get("unidentified", 0)
    assert sum(row.percent for row in found.rows) == (100 if white else 0)
    assert {row.cell_class for row in found.rows} >= set(REPORTING_ORDER)


def test_absolute_counts_need_a_wbc_count() -> None:
    counts = {"neutrophil": 61, "lymphocyte": 30, "monocyte": 9, "erythroblast": 2}
    assert all(row.absolute is None for row in differential(counts).rows)
    found = differential(counts, Decimal("7.20"))
    assert [row.absolute for row in found.rows][:3] == [
        Decimal("4.39"),
        Decimal("2.16"),
        Decimal("0.65"),
    ]
    assert [(other.cell_class.key, other.per_100_wbc) for other in found.non_wbc] == [
        ("erythroblast", Decimal("2.0"))
    ]


def test_an_empty_count_has_rows_but_no_numbers_to_believe() -> None:
    found = differential({"unidentified": 3, "artefact": 1}, Decimal("5"))
    assert [row.percent for row in found.rows] == [Decimal("0.0")] * 5
    assert found.rows[0].absolute is None
    assert found.non_wbc[0].per_100_wbc is None
