import pytest

from feature_repo.transforms.request.ranker_inputs import RANKER_INPUTS
from serving.errors import ModelError
from serving.models.mlflow_registry import require_inputs


def test_model_with_the_inputs_that_serve_is_accepted():
    assert require_inputs("7", list(RANKER_INPUTS)) == list(RANKER_INPUTS)


@pytest.mark.parametrize(
    "columns",
    [
        None,
        RANKER_INPUTS[:-1],
        (*RANKER_INPUTS, "one_more"),
        (RANKER_INPUTS[1], RANKER_INPUTS[0], *RANKER_INPUTS[2:]),
        ("other", *RANKER_INPUTS[1:]),
    ],
)
def test_model_with_other_inputs_or_another_order_is_refused(columns):
    with pytest.raises(ModelError, match="version 7 reads .* expected"):
        require_inputs("7", columns)
