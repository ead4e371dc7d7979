"""The simulation of rollouts and training: closed forms where there are any, and what must hold always."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.config import ConfigError
from stepladder.errors import UserError
from stepladder.planning.bounds import bounds_of
from stepladder.planning.distributions import Distribution, constant, mean_of
from stepladder.planning.events import Events, Level
from stepladder.planning.replica import Replica, Reply
from stepladder.planning.settings import EngineSpeed, LoopSettings, Pipeline, TrainerSpeed, Workload
from stepladder.planning.simulation import predict, run, simulate

#: 3 turns: reset 2 s, then three times a prompt of 0.1 s, a reply of 10 x (0.02 + 0.01) s and a step of 1 s, evaluation 0.5 s.
WORK = Workload(constant(3), constant(100), constant(10), 0.0, constant(1), constant(2), constant(0.5))
ENGINE = EngineSpeed(prompt_token_seconds=0.001, token_seconds=0.02, reply_token_seconds=0.01)
EPISODE = 2 + 3 * (0.1 + 0.3 + 1) + 0.5
ONE = LoopSettings(environments=1, groups=2, group_size=3)


def nothing(*_: Any) -> None:
    """What is called and does nothing."""


# ------------------------------------------------------------------------------------------------------------- distributions


@pytest.mark.parametrize("text", ["constant:2", "exponential:4", "lognormal:4,0.5", "gamma:4,1.5"])
def test_draws_have_the_mean_and_the_variation_that_were_asked_for(text: str) -> None:
    distribution, random = Distribution.parse(text), Random(1)
    drawn = [distribution.draw(random) for _ in range(40_000)]
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((value - mean) ** 2 for value in drawn) / len(drawn))
    assert mean == pytest.approx(distribution.mean, rel=0.03)
    assert spread / mean == pytest.approx(
        {"constant": 0, "exponential": 1}.get(distribution.kind, distribution.variation), rel=0.05
    )
    assert str(distribution) == text
    assert mean_of(distribution) == distribution.mean


def test_a_measured_sample_is_drawn_again() -> None:
    sample = Distribution.measured([3.0, 1.0, 2.0])
    assert sample.mean == 2
    random = Random(0)
    assert {sample.draw(random) for _ in range(60)} == {1.0, 2.0, 3.0}
    assert {sample.at_most(1.5).draw(random) for _ in range(60)} == {1.0, 1.5}
    assert mean_of(sample.at_most(1.5)) == pytest.approx(4 / 3)
    many = Distribution.measured([float(value) for value in range(100_000)])
    assert len(many.values) == 10_000
    assert many.mean == pytest.approx(49_999.5, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("normal:1,2", "'normal:1,2' is no distribution"),
        ("lognormal:1", "is no distribution"),
        ("lognormal:0,1", "must be above 0"),
        ("constant:-1", "mean is -1"),
        ("soon", "is no distribution"),
        ("constant:inf", "finite"),
    ],
)
def test_text_that_is_no_distribution(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Distribution.parse(text)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Workload(flat=1.0), "flat is 1"),
        (lambda: Workload(hang=1.5), "hang is 1.5"),
        (lambda: EngineSpeed(replicas=0), "replicas is 0"),
        (lambda: TrainerSpeed(update_seconds=-1), "update_seconds is -1"),
        (lambda: LoopSettings(mode="both"), "mode is 'both'"),  # type: ignore[arg-type]
        (lambda: LoopSettings(oversample=0.5), "oversample is 0.5"),
        (lambda: simulate(Pipeline(), updates=0), "updates is 0"),
        (lambda: predict(Pipeline(), seeds=1), "seeds is 1"),
        (lambda: Distribution.measured([]), "empty sample"),
    ],
)
def test_settings_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make()


# -------------------------------------------------------------------------------------------------------------------- engine


def written(speed: EngineSpeed, *asked: tuple[float, int, int]) -> list[float]:
    """When replies are written that are asked for at (time, prompt tokens, tokens), in the order of asking."""
    events, when = Events(), dict[Reply, float]()
    replica = Replica(events, speed, [0])
    order: list[Reply] = []

    def ask(prompt: int, tokens: int) -> None:
        order.append(replica.ask(prompt, tokens, lambda reply: when.__setitem__(reply, events.now)))

    for at, prompt, tokens in asked:
        events.after(at, lambda prompt=prompt, tokens=tokens: ask(prompt, tokens))
    events.run(lambda: len(when) == len(asked))
    assert replica.written == sum(tokens for _, _, tokens in asked)
    return [when[reply] for reply in order]


def test_replies_that_are_written_together_slow_each_other_down() -> None:
    speed = EngineSpeed(token_seconds=1, reply_token_seconds=0.5)
    assert written(speed, (0, 1, 4)) == [6]
    # Together 2 s a token; the first is finished after 2 tokens each, the other writes 2 more alone.
    assert written(speed, (0, 1, 2), (0, 1, 4)) == [4, 7]
    # Alone for 3 s it writes 2 tokens, then 2 more together with the newcomer in 4 s, which goes on alone.
    assert written(speed, (0, 1, 4), (3, 1, 4)) == [7, 10]


def test_prompts_are_read_before_anything_is_written() -> None:
    speed = EngineSpeed(prompt_token_seconds=0.1, token_seconds=1)
    assert written(speed, (0, 10, 2), (0, 10, 2)) == [4, 4]
    assert written(speed, (0, 10, 4), (2, 10, 1)) == [6, 4]
    # Passes of 1 s: one for both of those that wait.
    both = EngineSpeed(pass_seconds=1, prompts=2, token_seconds=1)
    assert written(both, (0, 1, 1), (0.5, 1, 1), (0.5, 1, 1)) == [3, 3, 3]


def test_a_full_engine_lets_requests_wait() -> None:
    assert written(EngineSpeed(max_batch=1, token_seconds=1), (0, 1, 3), (0, 1, 3)) == [3, 6]


@pytest.mark.parametrize(("in_progress", "times"), [("continue", [9, 10]), ("finish", [4, 10])])
def test_new_weights(in_progress: Any, times: list[float]) -> None:
    """At 1 s comes an update of 5 s; a second request comes at 2 s."""
    events, when, versions = Events(), [], []
    replica = Replica(events, EngineSpeed(token_seconds=1, max_batch=1), [0])

    def done(reply: Reply) -> None:
        when.append(events.now)
        versions.append(reply.version)

    replica.ask(0, 4, done)
    events.after(1, lambda: replica.update(5, 7, in_progress, nothing))
    events.after(2, lambda: replica.ask(0, 1, done))
    events.run(lambda: len(when) == 2)
    assert when == times
    assert versions == [0, 7]


def test_a_cancelled_reply_leaves_the_others_quicker() -> None:
    events, when = Events(), []
    replica = Replica(events, EngineSpeed(token_seconds=0, reply_token_seconds=1), loads := [0])
    doomed = replica.ask(0, 2, nothing)
    replica.ask(0, 4, lambda _: when.append(events.now))
    events.after(2, lambda: replica.cancel(doomed))
    events.run(lambda: bool(when))
    assert when == [5]
    assert loads == [0]


def test_an_engine_alone_is_a_queue_with_one_server() -> None:
    """M/M/1: replies of exponential length, one at a time, asked for at random; a request is there 1 / (rate - load) on average."""
    random, events = Random(3), Events()
    replica = Replica(events, EngineSpeed(max_batch=1, token_seconds=1e-3), [0])
    waits: list[float] = []

    def arrive() -> None:
        began = events.now
        replica.ask(0, max(1, round(random.expovariate(1 / 1000))), lambda _: waits.append(events.now - began))
        events.after(random.expovariate(0.6), arrive)

    arrive()
    events.run(lambda: len(waits) == 60_000)
    assert sum(waits) / len(waits) == pytest.approx(1 / (1 - 0.6), rel=0.06)
    assert replica.busy.integral / events.now == pytest.approx(0.6, rel=0.02)


# -------------------------------------------------------------------------------------------------------------------- closed forms


def test_one_environment_in_turn_with_the_trainer() -> None:
    found = simulate(Pipeline(WORK, ENGINE, TrainerSpeed(7, 0.5, 0.001), ONE), updates=4, warm_up=2)
    learning = 7 + 18 * 0.5 + 18 * 110 * 0.001
    assert found.learn_seconds == pytest.approx(learning)
    assert found.play_seconds == pytest.approx(6 * EPISODE)
    assert found.updates_per_hour == pytest.approx(3600 / (6 * EPISODE + learning))
    assert found.episodes_per_second == pytest.approx(6 / (6 * EPISODE + learning))
    assert found.environment_use == pytest.approx(6 * EPISODE / (6 * EPISODE + learning))
    assert found.acting == pytest.approx(6 * 5.5 / (6 * EPISODE + learning))
    assert found.engine_use == pytest.approx(18 * 0.4 / (6 * EPISODE + learning))
    assert found.trainer_use == pytest.approx(learning / (6 * EPISODE + learning))
    assert (found.staleness_most, found.flat, found.dropped, found.repeated) == (0, 0, 0, 0)


def test_an_environment_for_every_episode_takes_as_long_as_the_longest() -> None:
    work = replace(WORK, step_seconds=Distribution.parse("lognormal:3,1"), steps=Distribution.parse("gamma:8,0.8"))
    quick = EngineSpeed(replicas=1, max_batch=1000, token_seconds=0)
    loop = LoopSettings(environments=6, groups=2, group_size=3)
    took = list[float]()
    ended = run(Pipeline(work, quick, TrainerSpeed(1), loop), 1, 5, nothing)
    for number in range(2):
        for member in range(3):  # the very episodes again, one at a time
            random = Random(f"5 {number} {member} 0")
            turns, seconds = work.steps.draw_count(random), work.reset_seconds.draw(random)
            for _ in range(turns):
                work.prompt_tokens.draw_count(random), work.reply_tokens.draw_count(random)
                seconds += work.step_seconds.draw(random)
            took.append(seconds + work.evaluate_seconds.draw(random))
    assert ended.events.now == pytest.approx(max(took) + 1)


@pytest.mark.parametrize(
    ("environments", "replicas", "trainer", "expected"),
    [(4, 8, 0.1, "environments"), (400, 1, 0.1, "engines"), (400, 8, 60.0, "trainer")],
)
def test_with_deep_queues_the_scarcest_resource_is_used_whole(
    environments: int, replicas: int, trainer: float, expected: str
) -> None:
    engine = replace(ENGINE, replicas=replicas)
    loop = LoopSettings("asynchronous", environments, groups=4, group_size=4, staleness=60, late="use")
    pipeline = Pipeline(WORK, engine, TrainerSpeed(trainer), loop)
    bounds, found = bounds_of(pipeline), simulate(pipeline, updates=300, warm_up=60)
    name, bound = bounds.lowest
    assert name == expected
    assert found.updates_per_hour / 3600 == pytest.approx(bound, rel=0.06)
    assert found.updates_per_hour / 3600 <= bound * 1.02
    assert found.bottleneck == expected


def test_without_staleness_the_asynchronous_loop_takes_turns_too() -> None:
    loop = replace(ONE, mode="asynchronous", staleness=0)
    found = simulate(Pipeline(WORK, ENGINE, TrainerSpeed(7), loop), updates=4, warm_up=2)
    assert found.updates_per_hour == pytest.approx(3600 / (6 * EPISODE + 7))
    assert found.staleness_most == 0


def test_what_holds_it_up_is_told_where_no_resource_is_used_whole() -> None:
    def held_up_by(engine: EngineSpeed, environments: int, **loop: Any) -> str:
        settings = LoopSettings(environments=environments, groups=4, group_size=4, **loop)
        return simulate(Pipeline(WORK, engine, TrainerSpeed(20), settings), 60, 30).bottleneck

    assert held_up_by(ENGINE, 16) == "waiting for one another"
    assert held_up_by(ENGINE, 100, mode="asynchronous", staleness=0) == "staleness limit"
    slow = replace(ENGINE, reply_token_seconds=0.04, token_seconds=0.0)  # replies take longer the more there are
    assert held_up_by(slow, 5, mode="asynchronous", staleness=9) == "environments that wait for replies"


def test_little() -> None:
    """Episodes in progress = episodes begun a second x the time of one, over the whole simulation."""
    work = replace(WORK, step_seconds=Distribution.parse("gamma:2,1.5"), steps=Distribution.parse("exponential:6"))
    loop = LoopSettings("asynchronous", 20, groups=4, group_size=4, staleness=4)
    ended = run(Pipeline(work, ENGINE, TrainerSpeed(5), loop), 80, 0, nothing)
    environments, now = ended.environments, ended.events.now
    over = sum(environments.counts[name] for name in ("finished", "broken", "dropped"))
    mean = environments.seconds / over
    assert environments.occupied.integral / now == pytest.approx(over / now * mean, rel=0.02)


def test_failures_come_as_often_as_they_were_said_to() -> None:
    work = replace(WORK, step_failure=0.05, reset_failure=0.1, replace_seconds=30, retries=50)
    loop = LoopSettings("asynchronous", 12, groups=4, group_size=4, staleness=40, late="use")
    pipeline = Pipeline(work, replace(ENGINE, replicas=12), TrainerSpeed(0.1), loop)
    found = simulate(pipeline, updates=150, warm_up=20)
    good = 0.9 * 0.95**3
    assert found.repeated == pytest.approx(1 / good - 1, rel=0.1)
    assert found.given_up == 0
    assert found.updates_per_hour / 3600 == pytest.approx(bounds_of(pipeline).environments, rel=0.06)
    hopeless = replace(work, reset_failure=1.0, retries=2)
    assert simulate(replace(pipeline, workload=hopeless), updates=3, warm_up=0).given_up == 1


def test_a_hang_takes_the_deadline() -> None:
    work = replace(WORK, hang=1.0, reset_deadline=500.0, replace_seconds=20, retries=0)
    ended = run(Pipeline(work, ENGINE, TrainerSpeed(0), replace(ONE, rounds=1)), 1, 0, nothing)
    assert ended.events.now == 6 * 520
    assert ended.environments.counts["given_up"] == 6


def test_groups_without_a_signal_are_made_good() -> None:
    loop = LoopSettings(environments=100, groups=20, group_size=2, rounds=40, expand=False)
    found = simulate(Pipeline(replace(WORK, flat=0.5), ENGINE, TrainerSpeed(1), loop), updates=20, warm_up=0)
    assert found.flat == pytest.approx(0.5, abs=0.08)
    # 100 %, 50 %, 25 %, ... of the groups in turn: as many rounds as it takes.
    one = simulate(Pipeline(WORK, ENGINE, TrainerSpeed(1), loop), updates=20, warm_up=0)
    assert found.play_seconds > 2 * one.play_seconds
    assert found.episodes_per_second * found.seconds == pytest.approx(20 * 20 * 2)


def test_early_stop_does_not_wait_for_the_longest() -> None:
    work = replace(WORK, step_seconds=Distribution.parse("lognormal:3,2"))
    loop = LoopSettings(environments=64, groups=8, group_size=4)
    engine = replace(ENGINE, replicas=4)
    pipelines = {
        name: Pipeline(work, engine, TrainerSpeed(5), replace(loop, oversample=extra, unfinished=unfinished))
        for name, extra, unfinished in (("whole", 1.0, "drop"), ("drop", 2.0, "drop"), ("carry", 2.0, "carry"))
    }
    found = {name: simulate(pipeline, updates=30, warm_up=5) for name, pipeline in pipelines.items()}
    assert found["drop"].updates_per_hour > 1.2 * found["whole"].updates_per_hour
    assert found["carry"].updates_per_hour > found["whole"].updates_per_hour
    assert found["drop"].dropped > 0.3
    assert found["carry"].dropped == 0
    assert found["drop"].staleness_most == 0
    assert found["carry"].staleness_most >= 1


def test_spare_members_shorten_a_group() -> None:
    work = replace(WORK, step_seconds=Distribution.parse("lognormal:3,2"))
    loop = LoopSettings("asynchronous", 64, groups=4, group_size=4, staleness=0)
    plain = Pipeline(work, ENGINE, TrainerSpeed(1), loop)
    spare = replace(plain, loop=replace(loop, extra_members=2))
    assert simulate(spare, 30).updates_per_hour > 1.1 * simulate(plain, 30).updates_per_hour
    ended = run(spare, 30, 0, nothing)
    assert ended.environments.counts["dropped"] > 0


def test_staggered_updates_do_not_hold_the_trainer_up() -> None:
    loop = LoopSettings("asynchronous", 40, groups=2, group_size=2, staleness=8)
    engine = replace(ENGINE, replicas=4, update_seconds=10)
    together = simulate(Pipeline(WORK, engine, TrainerSpeed(15), loop), 40)
    apart = simulate(Pipeline(WORK, replace(engine, staggered=1), TrainerSpeed(15), loop), 40)
    assert together.updates_per_hour == pytest.approx(3600 / 25, rel=0.01)
    assert apart.updates_per_hour == pytest.approx(3600 / 15, rel=0.01)


def test_equal_seeds_give_equal_outcomes() -> None:
    pipeline = Pipeline(replace(WORK, steps=Distribution.parse("gamma:3,0.5")), ENGINE, TrainerSpeed(3), ONE)
    assert simulate(pipeline, 5, 1, seed=4) == simulate(pipeline, 5, 1, seed=4)
    assert simulate(pipeline, 5, 1, seed=4) != simulate(pipeline, 5, 1, seed=5)
    found = predict(pipeline, 5, 1, seeds=4)
    mean, low, high = found.figures["updates_per_hour"]
    assert low < mean < high
    rates = [simulate(pipeline, 5, 1, seed).updates_per_hour for seed in range(4)]
    assert found["updates_per_hour"] == pytest.approx(sum(rates) / 4)


def test_a_pipeline_that_stands_still_says_so() -> None:
    events = Events()
    events.after(3, nothing)
    with pytest.raises(UserError, match="stands still after 3 s"):
        events.run(lambda: False)
    level = Level(events)
    level.add(2)
    assert level.integral == 0


# --------------------------------------------------------------------------------------------------------- what holds always

TIMES = st.sampled_from([constant(0), constant(1), Distribution.parse("lognormal:2,1"), Distribution.parse("exponential:3")])
PIPELINES = st.builds(
    Pipeline,
    st.builds(
        Workload,
        steps=st.sampled_from([constant(1), constant(4), Distribution.parse("exponential:5")]),
        prompt_tokens=st.just(constant(50)),
        reply_tokens=st.sampled_from([constant(3), Distribution.parse("gamma:20,1")]),
        cached=st.sampled_from([0.0, 0.5]),
        step_seconds=TIMES,
        reset_seconds=TIMES,
        evaluate_seconds=TIMES,
        step_failure=st.sampled_from([0.0, 0.1]),
        reset_failure=st.sampled_from([0.0, 0.2]),
        hang=st.sampled_from([0.0, 0.02]),
        step_deadline=st.just(20.0),
        reset_deadline=st.just(30.0),
        replace_seconds=st.sampled_from([0.0, 7.0]),
        retries=st.integers(0, 2),
        flat=st.sampled_from([0.0, 0.4]),
    ),
    st.builds(
        EngineSpeed,
        replicas=st.integers(1, 3),
        max_batch=st.sampled_from([1, 4, 64]),
        pass_seconds=st.sampled_from([0.0, 0.1]),
        prompts=st.sampled_from([1, 8]),
        prompt_token_seconds=st.sampled_from([0.0, 0.002]),
        token_seconds=st.sampled_from([0.005, 0.02]),  # time must go on
        reply_token_seconds=st.sampled_from([0.0, 0.005]),
        update_seconds=st.sampled_from([0.0, 3.0]),
        in_progress=st.sampled_from(["finish", "continue"]),
        staggered=st.integers(0, 2),
    ),
    st.builds(TrainerSpeed, st.sampled_from([0.5, 20.0]), st.sampled_from([0.0, 0.1])),
    st.builds(
        LoopSettings,
        mode=st.sampled_from(["synchronous", "asynchronous"]),
        environments=st.integers(1, 12),
        groups=st.integers(1, 3),
        group_size=st.integers(1, 3),
        rounds=st.integers(1, 3),
        expand=st.booleans(),
        oversample=st.sampled_from([1.0, 2.0]),
        unfinished=st.sampled_from(["drop", "carry"]),
        staleness=st.integers(0, 3),
        late=st.sampled_from(["drop", "use"]),
        extra_members=st.integers(0, 2),
    ),
)


@settings(max_examples=100)
@given(PIPELINES, st.integers(0, 3))
def test_every_episode_ends_once_and_nothing_is_used_more_than_whole(pipeline: Pipeline, seed: int) -> None:
    learned: list[int] = []
    ended = run(pipeline, 4, seed, lambda groups: learned.extend(group.number for group in groups))
    environments, counts = ended.environments, ended.environments.counts
    assert counts["begun"] == counts["finished"] + counts["broken"] + counts["dropped"] + len(environments.playing)
    assert environments.free + len(environments.playing) + environments.replaced.value == pipeline.loop.environments
    assert environments.occupied.value == len(environments.playing)
    assert len(learned) == len(set(learned)) == ended.counts["learned"]
    assert ended.counts["learned"] + ended.counts["flat"] + len(ended.unfinished) <= ended.counts["begun"]
    found = simulate(pipeline, 2, 1, seed) if ended.events.now else None
    if found is not None and math.isfinite(found.updates_per_hour):
        shares = ("environment_use", "acting", "replaced", "engine_use", "engine_load", "trainer_use", "flat", "given_up")
        for name in shares:
            assert 0 <= getattr(found, name) <= 1 + 1e-9, name
        assert found.environment_use + found.replaced <= 1 + 1e-9
        if pipeline.loop.mode == "synchronous" and pipeline.loop.unfinished == "drop" and not pipeline.engine.staggered:
            assert found.staleness_most == 0


@settings(max_examples=100)
@given(PIPELINES.filter(lambda one: one.loop.mode == "asynchronous" and one.loop.late == "drop"), st.integers(0, 3))
def test_groups_beyond_the_limit_of_staleness_are_not_learned_from(pipeline: Pipeline, seed: int) -> None:
    ages: list[int] = []
    run(pipeline, 4, seed, lambda groups: ages.extend(group.learned_at - group.oldest for group in groups))
    assert all(age <= pipeline.loop.staleness for age in ages)


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["synchronous", "asynchronous"]), st.sampled_from([0.0, 5.0]))
def test_more_environments_never_slow_it_down(few: int, more: int, mode: Any, learning: float) -> None:
    """Where every episode takes equally long and engines are not short."""
    rates = []
    for environments in (few, few + more):
        loop = LoopSettings(mode, environments, groups=3, group_size=2, staleness=2)
        engine = EngineSpeed(max_batch=100, token_seconds=0.02)
        rates.append(simulate(Pipeline(WORK, engine, TrainerSpeed(learning), loop), 12, 4).updates_per_hour)
    assert rates[1] >= rates[0] * (1 - 1e-9)
