"""PPO over steps, with long episodes and with a critic that settles; GiGPO's anchors; what SDPO learns from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import model_for, renderer

from stepladder.algos.algorithm import ReplyScores
from stepladder.algos.credit import NOTHING, Credit
from stepladder.algos.explained import explained_variance
from stepladder.algos.gigpo import Gigpo, anchor_shares, state
from stepladder.algos.ppo import Ppo
from stepladder.algos.sdpo import Sdpo
from stepladder.models.heads import ValueHead, own_trunk
from stepladder.types import EVALUATOR, Action, Completion, Element, FloatArray, ImageRef, Observation, Step, Task, Trajectory

TASK = Task("t", "", "test")
SCREEN = ImageRef("a" * 64, 10, 10)


def row(*values: float) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def step(length: int, state: str = "", screenshot: ImageRef | None = None) -> Step:
    said = Completion("x" * length, np.arange(length, dtype=np.int32), np.zeros(length, dtype=np.float32))
    return Step(Observation(screenshot, state_key=state), Action("click", 1, 2), completion=said)


def episode(reward: float | None, *states: str, name: str = "", lengths: tuple[int, ...] = (), said: str = "") -> Trajectory:
    steps = tuple(step(length, state) for state, length in zip(states, lengths or (2,) * len(states), strict=True))
    extra = {EVALUATOR: said} if said else {}
    status: Any = "env_error" if reward is None else "done"
    return Trajectory(name or f"{reward}-{states}", TASK, steps, None, status, reward, extra=extra)


def advantages(credits: list[Credit]) -> list[float]:
    return [float(np.asarray(credit.advantage).reshape(-1)[0]) for credit in credits]


# ---------------------------------------------------------------------------------------------------------------- ppo


def test_a_step_is_one_action_whatever_its_length() -> None:
    member = episode(1.0, "a", "b", name="m", lengths=(3, 2))
    scores = {"m": [ReplyScores(values=row(0.2, 9.0, 9.0)), ReplyScores(values=row(0.6, 9.0))]}
    ((first, second),) = Ppo(level="step", lam=0.5, critic_lam=1.0).credit([[member]], scores)[0]
    # deltas 0.6 - 0.2 and 1 - 0.6; from behind 0.4, then 0.4 + 0.5 * 0.4
    np.testing.assert_allclose(first.advantage, [0.6] * 3, atol=1e-6)
    np.testing.assert_allclose(second.advantage, [0.4] * 2, atol=1e-6)
    np.testing.assert_allclose(np.asarray(first.returns), [1.0, np.nan, np.nan], atol=1e-6)
    np.testing.assert_allclose(np.asarray(second.returns), [1.0, np.nan], atol=1e-6)
    assert np.isnan(np.asarray(first.values)[1:]).all()
    assert first.fields(3)["returns"][0] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="is not finite"):
        replace(first, advantage=np.nan).fields(3)


def test_lambda_follows_the_length_of_each_episode() -> None:
    short, long = episode(1.0, "a", name="s", lengths=(5,)), episode(1.0, "a", name="l", lengths=(40,))
    scores = {"s": [ReplyScores(values=row(*[0.5] * 5))], "l": [ReplyScores(values=row(*[0.5] * 40))]}
    found = Ppo(lam_alpha=0.05).credit([[short, long]], scores)
    # lambda is 0 for 5 tokens and 1/2 for 40: all errors but the last are 0
    np.testing.assert_allclose(found[0][0][0].advantage, [0.0] * 4 + [0.5], atol=1e-6)
    np.testing.assert_allclose(np.asarray(found[0][1][0].advantage)[-3:], [0.125, 0.25, 0.5], atol=1e-6)
    with pytest.raises(ValueError, match=r"algo.lam_alpha is 0; it must be positive"):
        Ppo(lam_alpha=0).check()
    for name, value in (("lam", 95.0), ("gamma", 5.0), ("critic_lam", -3.0), ("value", -1.0), ("value_clip", -1.0)):
        with pytest.raises(ValueError, match=rf"algo\.{name} is {value}"):
            Ppo(**{name: value}).check()  # type: ignore[arg-type]


def test_the_critic_learns_alone_until_it_has_settled() -> None:
    ppo = Ppo(critic_warmup=50, critic_settled=0.05)
    rising = [0.1 * number for number in range(8)]
    assert ppo.loss_weights(8, rising)["pg"] == 0.0
    settled = [*rising, *[0.72] * 10]
    assert ppo.loss_weights(len(settled), settled)["pg"] == 1.0
    assert ppo.loss_weights(60, [0.0] * 60)["pg"] == 1.0, "at most so many updates"
    assert ppo.loss_weights(20, [-0.2] * 20)["pg"] == 0.0, "a critic that explains nothing has not settled"
    assert ppo.loss_weights(20, [0.001 * number for number in range(20)])["pg"] == 0.0, "one that has hardly begun neither"
    assert ppo.loss_weights(11, [*rising, 0.1, 0.8, 0.9])["pg"] == 0.0, "a single bad update decides nothing"
    assert Ppo(critic_warmup=5).loss_weights(4, settled)["pg"] == 0.0, "by itself the whole time"


def test_explained_variance_by_hand() -> None:
    def credits(*pairs: tuple[list[float], list[float]]) -> list[Any]:
        return [[[Credit(values=row(*values), returns=row(*returns)) for returns, values in pairs]]]

    known = ([0.0, 1.0], [0.0, 1.0])
    assert explained_variance(credits(known)) == {"explained_variance": 1.0}
    assert explained_variance(credits(([0.0, 1.0], [0.3, 0.3])))["explained_variance"] == pytest.approx(0.0)
    assert explained_variance(credits(([0.0], [1.0]), ([1.0, np.nan], [0.0, np.nan])))["explained_variance"] == pytest.approx(-3.0)
    assert explained_variance(credits(([1.0, 1.0], [0.0, 2.0]))) == {}
    assert explained_variance([[[NOTHING]]]) == {}


def test_a_critic_shapes_what_it_is_allowed_to() -> None:
    torch.manual_seed(0)
    for shared in (False, True):
        states = torch.randn(3, 8, requires_grad=True)
        head = ValueHead(8, width=4, shared=shared)
        torch.nn.init.normal_(head.outer.weight)
        head(states).sum().backward()
        assert (states.grad is not None) == shared


def test_a_trunk_of_its_own_is_a_copy_without_eyes() -> None:

    model = model_for(renderer())
    trunk: Any = own_trunk(model)
    names = [name for name, _ in trunk.named_parameters()]
    assert names
    assert all(name.startswith("model.language_model") for name in names)
    assert model.model.visual is not trunk.model.visual
    assert len(list(model.model.visual.parameters()))
    ours, theirs = model.model.language_model.layers[0].mlp.up_proj.weight, trunk.model.language_model.layers[0].mlp.up_proj.weight
    assert ours is not theirs
    torch.testing.assert_close(ours, theirs)


# ---------------------------------------------------------------------------------------------------------------- gigpo


def test_gigpo_judges_a_step_by_what_followed_from_its_state() -> None:
    """Both begin in a; one goes on to b and succeeds, one to c and fails, and a third comes to b and fails."""
    group = [episode(1.0, "a", "b", name="1"), episode(0.0, "a", "c", name="2"), episode(0.0, "a", "b", name="3")]
    found = Gigpo(gamma=0.5, weight=2.0).credit([group], {})[0]
    whole, at_a, at_b = [2 / 3, -1 / 3, -1 / 3], [0.5 - 1 / 6, -1 / 6, -1 / 6], [0.5, -0.5]
    assert advantages(found[0]) == pytest.approx([whole[0] + 2 * at_a[0], whole[0] + 2 * at_b[0]])
    assert advantages(found[1]) == pytest.approx([whole[1] + 2 * at_a[1], whole[1]]), "nobody else was in c"
    assert advantages(found[2]) == pytest.approx([whole[2] + 2 * at_a[2], whole[2] + 2 * at_b[1]])


def test_gigpo_takes_screens_for_states_where_there_is_no_key() -> None:
    same = [Trajectory(str(reward), TASK, (step(1, "", SCREEN),), None, "done", reward) for reward in (1.0, 0.0)]
    assert [advantages(one) for one in Gigpo().credit([same], {})[0]] == [[1.0], [-1.0]]
    blind = [Trajectory(str(reward), TASK, (step(1),), None, "done", reward) for reward in (1.0, 0.0)]
    assert [advantages(one) for one in Gigpo().credit([blind], {})[0]] == [[0.5], [-0.5]]


def test_gigpo_overlooks_what_is_only_painted() -> None:
    """Two screens that differ in a pixel, and in the place of a button, with the same accessibility tree."""
    trees = [(Element("button", "Save", box=(left, 0.0, 9.0, 9.0)),) for left in (0.0, 1.0)]
    seen = [Observation(ImageRef(letter * 64, 10, 10), tree) for letter, tree in zip("ab", trees, strict=True)]
    said = step(1)
    group = [
        Trajectory(str(reward), TASK, (replace(said, observation=one),), None, "done", reward)
        for reward, one in zip((1.0, 0.0), seen, strict=True)
    ]
    assert [advantages(one) for one in Gigpo(anchor="tree").credit([group], {})[0]] == [[1.0], [-1.0]]
    assert [advantages(one) for one in Gigpo().credit([group], {})[0]] == [[0.5], [-0.5]]
    assert state(replace(seen[0], url="elsewhere"), "tree") != state(seen[0], "tree")
    assert state(Observation(SCREEN), "tree") == ""
    with pytest.raises(ValueError, match=r"algo\.anchor is 'trees'; it must be one of key"):
        Gigpo(anchor="trees").check()  # type: ignore[arg-type]


def test_gigpo_keeps_successes_of_which_some_came_sooner() -> None:
    group = [episode(1.0, "a", name="1"), episode(1.0, "a", "b", "c", name="2")]
    assert Gigpo().keep(group)
    first, second = Gigpo(gamma=0.5).credit([group], {})[0]
    assert advantages(first)[0] == -advantages(second)[0] == pytest.approx(0.375)
    assert not Gigpo(gamma=1.0).keep(group)
    assert not Gigpo().keep([episode(0.0, "a", name="1"), episode(0.0, "a", "b", name="2")])


def test_gigpo_counts_episodes_or_rows() -> None:
    group = [episode(1.0, "a", name="1"), episode(0.0, "b", "c", "d", name="2")]
    assert advantages(Gigpo().credit([group], {})[0][0]) == [0.5]
    assert advantages(Gigpo(per_row=True).credit([group], {})[0][0]) == [0.75]


def test_gigpo_credits_episodes_of_any_shape() -> None:
    assert Gigpo().credit([], {}) == []
    assert Gigpo().credit([[episode(1.0, name="1"), episode(0.0, name="2")]], {}) == [[[], []]]
    broken = episode(None, "a", name="3")
    found = Gigpo().credit([[episode(1.0, "a", name="1"), episode(0.0, "a", name="2"), broken]], {})[0]
    assert [advantages(one) for one in found[:2]] == [[1.0], [-1.0]]
    assert found[2] == [NOTHING]


def test_how_often_anchors_match() -> None:
    group = [episode(1.0, "a", "b", "b", name="1"), episode(0.0, "a", "c", name="2")]
    assert anchor_shares([group]) == {"anchored": 0.4, "anchor_size": 2.0}, "coming back to b alone is no match"
    assert anchor_shares([]) == {}
    assert Gigpo().shares([group]) == {"anchored": (2.0, 5.0)}
    assert Gigpo().shares([]) == {"anchored": (0.0, 0.0)}, "a rank without groups names it too"


# ----------------------------------------------------------------------------------------------------------------- sdpo


def test_sdpo_learns_from_failures_of_which_something_is_told() -> None:
    told, silent, solved = episode(0.0, "a", said="no"), episode(0.0, "b", name="s"), episode(1.0, "c", said="well", name="w")
    sdpo = Sdpo(feedback=("evaluator",))
    credits = sdpo.credit([[told, silent, solved, episode(None, "a", name="n")]], {})[0]
    assert [[credit.distill for credit in one] for one in credits] == [[1.0], [0.0], [0.0], [0.0]]
    assert credits[0][0].told == (sdpo.before, "The evaluation of the episode: no", sdpo.behind)
    assert all(credit.pg == 0.0 for one in credits for credit in one)
    assert sdpo.keep([told, told])
    assert not sdpo.keep([silent, solved])
    assert replace(sdpo, on_success=True).keep([silent, solved])
    assert not sdpo.keep([episode(None, "a", said="no")])


def test_sdpo_beside_a_policy_gradient() -> None:
    group = [episode(1.0, "a", name="1"), episode(0.0, "a", name="2", said="no")]
    sdpo = Sdpo(feedback=("evaluator",), policy_gradient=0.5, distillation=2.0)
    credits = sdpo.credit([group], {})[0]
    assert [credit.pg for one in credits for credit in one] == [1.0, 1.0]
    assert credits[0][0].advantage == -credits[1][0].advantage != 0
    assert [one[0].distill for one in credits] == [0.0, 1.0]
    weights = sdpo.loss_weights(0)
    assert (weights["pg"], weights["distill"]) == (0.5, 2.0)


def test_a_checkpoint_may_teach_without_a_word() -> None:
    sdpo = Sdpo(feedback=(), teacher="checkpoint")
    sdpo.check()
    assert sdpo.needs == {"teacher"}
    credits = sdpo.credit([[episode(1.0, "a"), episode(0.0, "b")]], {})[0]
    assert [(one[0].distill, one[0].told) for one in credits] == [(1.0, ()), (1.0, ())]
    with pytest.raises(ValueError, match="told nothing has nothing to teach"):
        Sdpo(feedback=()).check()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"teacher": "emma"}, "algo.teacher is 'emma'; did you mean 'ema'"),
        ({"alpha": 2.0}, r"algo.alpha is 2.0; it must be in \[0, 1\]"),
        ({"teacher_rate": -0.1}, r"algo.teacher_rate is -0.1; it must be in \[0, 1\]"),
        ({"top_k": 0}, "algo.top_k is 0"),
        ({"distillation": -1.0}, r"algo.distillation is -1.0; it must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sdpo(**setting).check()
