import pytest

from feature_repo.names import CHECKOUT, HOME, RANKERS
from feature_repo.transforms.request.ranker_inputs import INPUTS_OF, RANKER_INPUTS
from serving.errors import ModelError
from serving.models.mlflow_registry import require_inputs
from serving.models.registered_version import RegisteredVersion


def reading(names, columns) -> RegisteredVersion:
    return RegisteredVersion(names, "7", {}, b"trees", tuple(columns))


@pytest.mark.parametrize("names", RANKERS.values(), ids=RANKERS)
def test_model_with_the_inputs_of_its_ranker_is_accepted(names):
    version = reading(names, INPUTS_OF[names.key])
    assert require_inputs(version) is version


@pytest.mark.parametrize(
    "columns",
    [
        (),
        RANKER_INPUTS[:-1],
        (*RANKER_INPUTS, "one_more"),
        (RANKER_INPUTS[1], RANKER_INPUTS[0], *RANKER_INPUTS[2:]),
        ("other", *RANKER_INPUTS[1:]),
    ],
)
def test_model_with_other_inputs_or_another_order_is_refused(columns):
    with pytest.raises(ModelError, match="checkout_ranker version 7 reads .* expected"):
        require_inputs(reading(CHECKOUT, columns))


def test_model_that_reads_the_cart_is_refused_for_home():
    with pytest.raises(ModelError, match="home_ranker version 7 reads cart_.*, expected None"):
        require_inputs(reading(HOME, RANKER_INPUTS))
