import subprocess
import sys

import pytest
from scipy.stats import chisquare

from serving.errors import SettingsRefused
from serving.models.experiment import Experiment, experiment_from_environment
from serving.models.slot import Models
from serving.rules.settings import RuleSettings
from tests.support.serving_fakes import FakeRanker

BOTH = Models(FakeRanker("7"), challenger=FakeRanker("8"))
USERS = [f"user-{number}" for number in range(4_000)]


def arms(experiment: Experiment, users=USERS, key="home") -> list[str]:
    return [experiment.assign(key, BOTH, user, "request").ranker.version for user in users]


def test_challenger_ranks_for_a_share_of_the_users_and_always_the_same_ones():
    experiment = Experiment("spring", challenger_share=0.3)
    first = arms(experiment)
    counts = [first.count("7"), first.count("8")]
    assert chisquare(counts, [0.7 * len(USERS), 0.3 * len(USERS)]).pvalue > 0.001
    assert arms(experiment) == first != arms(Experiment("autumn", challenger_share=0.3))
    larger = arms(Experiment("spring", challenger_share=0.5))
    assert set(zip(first, larger, strict=True)) == {
        ("7", "7"),
        ("7", "8"),
        ("8", "8"),
    }, "a larger share moves no user back to the champion"


def test_arm_is_the_alias_and_no_share_means_the_champion():
    every = Experiment(challenger_share=1.0).assign("home", BOTH, "900", "request")
    assert (every.arm, every.ranker.version, every.shadow) == ("challenger", "8", None)
    none = Experiment().assign("home", BOTH, "900", "request")
    assert (none.arm, none.ranker.version, none.shadow) == ("champion", "7", None)


def test_without_a_challenger_the_champion_ranks_for_all():
    found = Experiment(challenger_share=1.0, shadow_share=1.0).assign(
        "home", Models(FakeRanker("7")), "900", "request"
    )
    assert (found.arm, found.ranker.version, found.shadow) == ("champion", "7", None)


def test_challenger_ranks_a_share_of_the_requests_in_shadow():
    experiment = Experiment(shadow_share=0.2)
    shadowed = [
        experiment.assign("home", BOTH, "900", f"r-{n}").shadow is not None for n in range(4_000)
    ]
    assert chisquare([sum(shadowed), 4_000 - sum(shadowed)], [800, 3_200]).pvalue > 0.001
    assert experiment.assign("home", BOTH, "900", "request").ranker.version == "7"


def test_holdout_and_arm_are_independent():
    rules = RuleSettings(holdout_share=0.5)
    held_out = [user for user in USERS if rules.is_held_out(user)]
    challenged = arms(Experiment(challenger_share=0.5), held_out).count("8")
    assert chisquare([challenged, len(held_out) - challenged]).pvalue > 0.001


def test_arms_of_the_two_rankers_are_independent():
    experiment = Experiment("spring", challenger_share=0.5)
    at_home = dict(zip(USERS, arms(experiment), strict=True))
    challenged = [user for user in USERS if at_home[user] == "8"]
    counted = arms(experiment, challenged, "checkout").count("8")
    assert chisquare([counted, len(challenged) - counted]).pvalue > 0.001


def test_experiment_is_read_from_the_environment():
    environ = {
        "CLIPWISE_EXPERIMENT": "spring",
        "CLIPWISE_CHALLENGER_SHARE": "0.1",
        "CLIPWISE_SHADOW_SHARE": "1",
    }
    assert experiment_from_environment(environ) == Experiment("spring", 0.1, 1.0)
    assert not experiment_from_environment({}).has_challenger


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "half"])
@pytest.mark.parametrize("name", ["CHALLENGER", "SHADOW"])
def test_share_out_of_range_is_refused_with_one_sentence(name, share):
    with pytest.raises(
        SettingsRefused, match=r"a share from 0 to 1 \(0\.05 is one in twenty\), got"
    ):
        experiment_from_environment({f"CLIPWISE_{name}_SHARE": share})


def test_reading_the_settings_imports_no_ranker():
    script = (
        "import sys, serving.settings; names = ('xgboost', 'serving.models.xgboost_scorer', "
        "'serving.models.rankers'); print([name for name in names if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
