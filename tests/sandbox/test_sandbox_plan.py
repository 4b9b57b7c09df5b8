"""Fault plans, directives and the seeded choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import FaultPlan
from sandbox.dice import chance, number, pick
from sandbox.faults import FAULTS, OPTIONS, choose


def chosen(plan: str = "", *, prompt: str = "a fox", key: str = "kling/t_1", seed: int = 0):
    return choose(FaultPlan.parse(plan), seed=seed, key=key, prompt=prompt)


def test_a_plan_is_read_from_text():
    plan = FaultPlan.parse(" drop=0.2, duplicate = 0.1,,early ")

    assert {"drop": 0.2, "duplicate": 0.1, "early": 1.0} == plan.rates()


def test_an_empty_plan_is_a_quiet_one():
    assert {} == FaultPlan.parse("").rates()


def test_an_unknown_fault_is_named_with_the_nearest():
    with pytest.raises(ValueError, match=r"unknown fault 'dupicate': did you mean duplicate"):
        FaultPlan.parse("dupicate=0.1")


@pytest.mark.parametrize("text", ["drop=2", "drop=-0.1", "drop=nan", "drop=often"])
def test_a_rate_is_a_number_from_0_to_1(text):
    with pytest.raises(ValueError, match="drop"):
        FaultPlan.parse(text)


def test_every_fault_has_a_line_of_help():
    assert set(FAULTS) == set(FaultPlan.describe())
    assert all(line and "\n" not in line for line in FaultPlan.describe().values())


@given(seed=st.integers(), key=st.text(), kind=st.text())
def test_dice_stay_in_their_range(seed, key, kind):
    assert 0 <= chance(seed, key, kind) < 1
    assert pick(seed, key, kind, among=("a", "b")) in {"a", "b"}
    assert 18 == len(number(seed, key, kind, digits=18))


def test_the_same_seed_and_key_meet_the_same_faults():
    everything = ",".join(f"{name}=0.5" for name in FAULTS)

    assert chosen(everything).faults == chosen(everything).faults
    assert chosen(everything).faults != chosen(everything, seed=1).faults
    assert chosen(everything).faults != chosen(everything, key="kling/t_2").faults


def test_a_rate_befalls_its_share_of_tasks():
    befallen = sum("drop" in chosen("drop=0.2", key=f"kling/t_{index}") for index in range(2000))

    assert 320 < befallen < 480


@pytest.mark.parametrize("fault", [name for name in FAULTS if OPTIONS[name]])
def test_under_a_rate_each_way_of_a_fault_occurs(fault):
    seen = {chosen(fault, key=f"kling/t_{index}").option(fault) for index in range(300)}

    assert set(OPTIONS[fault]) == seen


def test_directives_replace_the_rates():
    assert {"duplicate": "", "reorder": ""} == chosen("drop", prompt="a fox [[duplicate,reorder]]").faults


def test_clean_means_no_fault_at_all():
    assert {} == chosen("drop", prompt="a fox [[clean]]").faults


def test_a_reason_may_hold_commas_and_equal_signs():
    assert {"failed": "no, never = no", "delay": ""} == chosen(prompt="[[delay, fail: no, never = no]]").faults


def test_seconds_are_directed():
    choice = chosen("drop", prompt="[[seconds=2]] a fox")

    assert (2.0, {}) == (choice.seconds, choice.faults)


def test_a_directive_without_argument_goes_the_plain_way():
    assert "final" == chosen(prompt="[[drop]]").option("drop")
    assert "processing" == chosen(prompt="[[drop=processing]]").option("drop")


@pytest.mark.parametrize(
    "prompt", ["[[drp]]", "[[drop=never]]", "[[early=2]]", "[[seconds=long]]", "[[seconds=-1]]", "[[seconds=9999]]"]
)
def test_an_unfit_directive_is_an_error(prompt):
    with pytest.raises(ValueError, match=r"unknown fault|not understood|not a number|are possible"):
        chosen(prompt=prompt)
