import json

import pytest

from serving.errors import SettingsRefused
from serving.policy.policies import Policies, Policy, policies_from_environment


def test_default_policy_shows_the_best_first():
    found = policies_from_environment({})
    assert found == Policies() and found.policy_for("home").is_plain


def test_policy_of_all_placements_and_of_one():
    text = "plackett_luce:0.5, checkout=deterministic,home=epsilon_greedy:0.1"
    found = policies_from_environment({"CLIPWISE_POLICY": text, "CLIPWISE_DEPARTMENT_LIMIT": "2"})
    assert found.policy_for("cart") == Policy("plackett_luce", temperature=0.5, department_limit=2)
    assert found.policy_for("home") == Policy("epsilon_greedy", epsilon=0.1, department_limit=2)
    assert (
        found.policy_for("checkout") == Policy(department_limit=2)
        and not found.policy_for("checkout").is_plain
    )


def test_policy_of_one_placement_does_not_change_the_others():
    found = policies_from_environment({"CLIPWISE_POLICY": "home=epsilon_greedy:0.1"})
    assert found.policy_for("cart").is_plain and not found.policy_for("home").is_plain


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("POLICY", "greedy"),
        ("POLICY", "deterministic:1"),
        ("POLICY", "epsilon_greedy"),
        ("POLICY", "epsilon_greedy:"),
        ("POLICY", "epsilon_greedy:1.5"),
        ("POLICY", "epsilon_greedy:nan"),
        ("POLICY", "plackett_luce:0"),
        ("POLICY", "plackett_luce:inf"),
        ("POLICY", "lobby=deterministic"),
        ("POLICY", "=deterministic"),
        ("POLICY", "deterministic,deterministic"),
        ("DEPARTMENT_LIMIT", "0"),
        ("DEPARTMENT_LIMIT", "two"),
    ],
)
def test_invalid_policy_is_refused_in_one_sentence(variable, text):
    with pytest.raises(SettingsRefused, match=r"^Expected .* got [^\n]*\.$"):
        policies_from_environment({f"CLIPWISE_{variable}": text})


def test_log_keeps_only_the_parameters_that_the_policy_uses():
    kept = json.loads(Policy("plackett_luce", temperature=0.5).as_json)
    assert kept == {"kind": "plackett_luce", "temperature": 0.5, "department_limit": None}
    assert json.loads(Policy().as_json) == {"kind": "deterministic", "department_limit": None}
