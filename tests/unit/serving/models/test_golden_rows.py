import numpy as np
import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.errors import ModelError
from serving.models.golden_rows import GoldenRows, require_golden_scores
from tests.support.serving_fakes import FakeRanker


def golden(scores) -> GoldenRows:
    return GoldenRows(
        np.zeros((len(scores), len(RANKER_INPUTS)), dtype=np.float32), np.array(scores)
    )


def test_ranker_that_reproduces_the_golden_rows_is_accepted():
    rows = golden([0.0, 1.0, 2.0 + 1e-7])
    assert require_golden_scores(FakeRanker(), rows) is rows


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (None, "has no rows in the artifact golden.parquet"),
        (golden([]), "has no rows in the artifact golden.parquet"),
        (golden([0.0, 1.0, 2.0001]), "1 of its 3 golden rows .* row 2: 2, expected 2.0001"),
        (golden([0.0, np.nan]), "1 of its 2 golden rows"),
    ],
)
def test_ranker_with_other_scores_or_without_golden_rows_is_refused(rows, why):
    with pytest.raises(ModelError, match=f"version 7 .*{why}"):
        require_golden_scores(FakeRanker(), rows)
