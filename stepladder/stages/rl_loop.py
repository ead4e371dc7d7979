"""The loop of one training process: play, keep what tells something, learn, validate, save."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor

from stepladder.alarms import AlarmLog, Member, observe
from stepladder.domains import domain_of
from stepladder.errors import UserError
from stepladder.images import ImageStore
from stepladder.interfaces import EnvironmentFailure
from stepladder.judges.judge import Judge
from stepladder.models.checkpoint import save_checkpoint
from stepladder.models.lora import load_learned
from stepladder.policies.engine import Engine
from stepladder.policies.local import LocalPolicy
from stepladder.policies.served_engine import ServedEngine
from stepladder.progress import Progress
from stepladder.rollout.curriculum import Played, mean_advantage
from stepladder.rollout.dynamic import Dynamic
from stepladder.rollout.expansion import Expansion, balanced
from stepladder.rollout.focus import outcomes
from stepladder.rollout.group import EpisodeJob, group_jobs
from stepladder.rollout.judging import TERM
from stepladder.rollout.live import LiveScreens
from stepladder.rollout.replay import Replay
from stepladder.run import Run
from stepladder.seeds import train_seeds, validation_seeds
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.episode_player import EpisodePlayer
from stepladder.stages.player import Player
from stepladder.stages.rl_config import RlConfig
from stepladder.stages.rl_domains import domain_figures
from stepladder.stages.rl_learner import Learner
from stepladder.stages.rl_outcomes import outcomes_of, played_of, told_of
from stepladder.stages.rl_states import RlStates
from stepladder.stages.rl_tasks import training_tasks
from stepladder.store import Summary, TrajectoryStore
from stepladder.train.parallel import agreed, gather
from stepladder.train.trainer import save_state
from stepladder.types import Group, Limits, Sampling, Task, Trajectory

#: Rollbacks without an update between them after which a run ends.
_ROLLBACKS = 3


class NeverFinite(UserError, FloatingPointError):
    """Updates whose gradients are not finite, from the same weights again and again."""


@dataclass
class Standing:
    """How far a run has come; part of the saved state. `broken` counts updates in a row whose gradient was not finite. `curriculum`
    is the curriculum's memory, `dynamic` that of the sizes of groups, `rollouts` that of asynchronous ones, `flat_share` the
    expansion's."""

    update: int = 0
    best: float = -1.0
    best_update: int = 0
    stale: int = 0
    seconds: float = 0.0
    broken: int = 0
    curriculum: dict[str, Any] = field(default_factory=dict)
    dynamic: dict[str, Any] = field(default_factory=dict)
    rollouts: dict[str, Any] = field(default_factory=dict)
    flat_share: float = 0.0


class RankLoop:
    """One of the processes that play and learn together. All of them take the same decisions."""

    def __init__(
        self, rank: int, world: int, config: RlConfig, store: TrajectoryStore, run: Run | None, judge: Judge | None, show: bool
    ) -> None:
        self.rank, self.world, self.config, self.store, self.run = rank, world, config, store, run
        self.show = show and run is not None
        self.tasks = training_tasks(config)
        options = AgentOptions.of_checkpoint(config.checkpoint)
        self.options, self.agent = options, options.build()
        images = ImageStore(config.output / "images")
        self.learner = Learner(config, self.agent, images)
        self.sampling = Sampling(config.temperature, 1.0, config.max_tokens or options.reply_tokens)
        self.standing = Standing()
        self.curriculum = config.curriculum.build(self.tasks, config.group_size)
        self.domains = {task.id: domain_of(task) for task in self.tasks}
        self.dynamic = Dynamic(config.dynamic, config.group_size)
        self.expansion = Expansion()
        self.replay = Replay(config.replay, store.get) if config.replay else None
        self.alarms = AlarmLog(config.output, "rl", config.alarms) if run is not None else None
        #: The groups of the present update as alarms see them, from all ranks.
        self.observed: list[list[Member]] = []
        self.states = RlStates(rank, self.learner, config.output)
        #: How often weights were rolled back since the last update that was one.
        self._rollbacks = 0
        self._open_players(images, judge)

    def _open_players(self, images: ImageStore, judge: Judge | None) -> None:
        """Whoever plays: the model that learns, in an engine that shares its weights."""
        options = self.config.engine.options(self.config.environments)
        self.engine = Engine(self.learner.model, self.learner.renderer, autocast=self.config.bf16, **options)
        self.player = Player(self._episodes(self.engine, images, judge), self.store, self.sampling)

    def _episodes(self, engine: Engine | ServedEngine, images: ImageStore, judge: Judge | None) -> EpisodePlayer:
        config = self.config
        return EpisodePlayer(
            LocalPolicy(engine, "student"),
            self.agent,
            images,
            Limits(max_steps=config.max_steps),
            config.environments,
            config.options,
            config.pool,
            live=LiveScreens(self.store.path.parent, self.store.path.stem),
            judge=judge,
            opinion=TERM in config.rewards,
            aware=config.aware,
            render=self.learner.renderer.render,
        )

    async def work(self) -> None:
        """From the last saved state to the end of the run."""
        self._load()
        try:
            await self._updates()
        finally:
            await self._close()

    async def _close(self) -> None:
        await self.player.close()
        self.engine.close()

    async def _updates(self) -> None:
        standing, config = self.standing, self.config
        before, started = standing.seconds, time.monotonic()
        if self.replay is not None:
            self._recall()
        with Progress("rl", config.updates, show=self.show) as progress:
            if standing.update == 0 and standing.best < 0:
                figures = await self._validate()
                if self.run is not None and figures:
                    self.run.log(0, "rl", **figures, seconds=0.0)
                await self._save()  # the curriculum begins with what was found, which would not be found alike to the bit again
            while standing.update < config.updates and not self._finished():
                figures = await self._update()
                standing.update += 1
                standing.seconds = before + agreed(time.monotonic() - started)
                if standing.update % config.evaluate_every == 0 or standing.update == config.updates or self._finished():
                    figures |= await self._validate()
                if self.run is not None:
                    self.run.log(standing.update, "rl", **figures, seconds=round(standing.seconds, 2))
                    progress.update(standing.update, config.updates, _shown(figures))
                    self._watch(progress)
                if standing.update % config.save_every == 0 and not standing.broken:
                    await self._save()
        await self._save()
        self._export()

    def _watch(self, progress: Progress) -> None:
        """Raise the alarms of the update that is over. They decide nothing."""
        if self.alarms is None or self.run is None or not self.config.alarms.window:
            return
        history = [record for record in self.run.metrics("rl") if record["step"] > 0]
        for alarm in self.alarms.update(self.standing.update, history, self.observed, self.config.algo.reward):
            progress.note(f"alarm in update {alarm.step}: {alarm.message}")

    def _finished(self) -> bool:
        config, standing = self.config, self.standing
        out_of_time = config.max_seconds is not None and standing.seconds > config.max_seconds
        return out_of_time or bool(config.patience and standing.stale >= config.patience)

    async def _update(self) -> dict[str, float]:
        """Play, learn, and tell the engine. What it returns is the same on every rank."""
        began = time.monotonic()
        groups, figures = await self._play()
        played = time.monotonic()
        figures |= await self._learn(groups)
        await self._refresh(self.standing.update + 1)
        counts = sum(gather(await self._counts()), Counter[str]())
        if self.run is not None:
            self.run.log(self.standing.update + 1, "environments", **counts)
        return {**figures, "play_seconds": played - began, "learn_seconds": time.monotonic() - played}

    async def _learn(self, groups: Sequence[Group]) -> dict[str, float]:
        return self._learn_now(groups)

    def _learn_now(self, groups: Sequence[Group]) -> dict[str, float]:
        """What `Learner.learn` gives. An update whose gradient is not finite is left out; after `rollback` of them in a row the
        weights and the optimizer's memory are those of the last saved state again, in which nothing of this was yet. Raises
        NeverFinite where that has not helped `_ROLLBACKS` times."""
        standing, config = self.standing, self.config
        try:
            figures = self.learner.learn(groups)
        except FloatingPointError as error:
            standing.broken += 1
            message = f"{error}; the update is left out"
            if config.rollback and standing.broken >= config.rollback:
                if self._rollbacks == _ROLLBACKS:
                    raise NeverFinite(
                        f"update {standing.update + 1}: {error}, nor was that of any update since the last saved state, from which "
                        f"the run has gone on {_ROLLBACKS} times; lower optimizer.lr, or see what the episodes' rewards are. The "
                        "same command goes on from there"
                    ) from error
                self._rollbacks += 1
                saved = self.states.load()
                if saved is None:
                    raise
                standing.broken = 0
                message += f", and weights and optimizer are those of update {saved['update']} again"
            if self.alarms is not None:
                self.alarms.tell(standing.update + 1, "not_finite", message)
            return {"skipped": 1.0}
        standing.broken = self._rollbacks = 0
        return figures

    async def _learned(self) -> dict[str, Tensor]:
        return self.states.learned()

    async def _refresh(self, version: int) -> None:
        """Whoever plays goes on with the weights that were just learned."""
        await self.engine.update_weights(None, version)

    async def _counts(self) -> Counter[str]:
        """What has happened to this rank's environments so far."""
        return self.player.counts

    async def _play(self) -> tuple[list[Group], dict[str, float]]:
        """Groups with a signal: this rank's share of at least `config.groups`, unless `config.rounds` do not suffice."""
        config, kept = self.config, list[Group]()
        counts = {"kept": 0.0, "flat": 0.0, "failed": 0.0, "episodes": 0.0, "reward": 0.0, "replayed": 0.0, "steps": 0.0}
        counts["equal"] = 0.0
        terms: dict[str, float] = {}
        tokens, self.observed = 0.0, []
        told: list[dict[str, Any]] = []
        for number in range(config.rounds):
            wanted = config.groups - int(counts["kept"])
            if wanted <= 0:
                break
            wanted = self.expansion.groups(wanted) if config.expand and not config.asynchronous.on else wanted
            found: list[dict[str, Any]] = []
            for group in await self._groups(number, wanted):
                filled = self._replayed(group, number)
                learned = self.learner.with_terms(filled)
                signal = self.learner.algorithm.keep(learned)
                if signal:
                    kept.append(learned)
                graded = learned if filled is group else self.learner.with_terms(group)
                advantage = mean_advantage(self.learner.algorithm.rewards(graded).tolist())
                found.append(
                    {**told_of(graded, filled is not group, signal), "advantage": advantage, "observed": self._observe(graded)}
                )
            everywhere = [one for rank in gather(found) for one in rank]
            flat = sum(not one["signal"] for one in everywhere)
            self.expansion.update(flat, len(everywhere))
            self.curriculum.update(played_of(everywhere))
            self.dynamic.update(outcomes_of(everywhere))
            told += everywhere
            counts["flat"] += flat
            counts["equal"] += sum(not one["signal"] and one["episodes"] - one["failed"] > 1 for one in everywhere)
            counts["kept"] += len(everywhere) - flat
            for name in ("failed", "episodes", "reward", "replayed", "steps"):
                counts[name] += sum(one[name] for one in everywhere)
            self.observed += [one["observed"] for one in everywhere]
            tokens += sum(one["tokens"] for one in everywhere)
            for one in everywhere:
                for name, value in one["terms"].items():
                    terms[name] = terms.get(name, 0.0) + value
        if config.curriculum.balanced:
            means = {one["group"]: one["mean"] or 0.0 for one in told if one["signal"]}
            chosen = balanced(means, config.groups, Random(f"balance {config.seed} {self.standing.update}"))
            kept = [group for group in kept if group[0].group in chosen]
            counts["spare"] = counts["kept"] - len(chosen)
        played = max(1.0, counts["episodes"] - counts["failed"])
        terms = {f"term/{name}": total / played for name, total in terms.items()}
        means = {"reward": counts["reward"] / played, "steps": counts["steps"] / max(1.0, counts["episodes"])}
        means["reply_tokens"] = tokens / max(1.0, counts["steps"])
        return kept, counts | means | terms | domain_figures(told, self.domains)

    def _observe(self, group: Group) -> list[Member]:
        weights = {} if self.learner.reward is None else self.learner.reward.weights
        return observe(group, self._store_name(), self.config.algo.reward, weights)

    def _store_name(self) -> str:
        """Where this rank's groups are kept."""
        return f"rollouts-{self.rank}"

    async def _groups(self, number: int, count: int) -> list[Group]:
        """Groups of one round. Of a start that the first `probe` members all solve, these members alone are played."""
        jobs, seed, probe = self._jobs(number, count), self._seed(number), self.config.probe
        if probe:
            probed = await self.player.groups([job for job in jobs if job.index < probe], seed)
            solved = {group[0].group for group in probed if all(member.success for member in group)}
            jobs = [job for job in jobs if job.index < probe or job.group not in solved]
        return await self.player.groups(jobs, seed)

    def _jobs(self, number: int, count: int) -> list[EpisodeJob]:
        """This rank's part of the groups of one round, which all ranks draw alike. A start belongs to one rank for good, so that
        its past successes are in that rank's store."""
        update, config = self.standing.update, self.config
        random = Random(f"rl {config.seed} {update} {number}")
        drawn = self.curriculum.draw(random, count)
        seeds = train_seeds(config.seeds, config.first)
        starts: list[tuple[Task, int]] = []
        taken: set[tuple[str, int]] = set()
        for place, task in enumerate(drawn):
            mine = seeds[place % self.world :: self.world]
            seed = next((s for s in random.sample(mine, len(mine)) if (task.id, s) not in taken), None)
            if seed is None:
                continue  # the task has fewer seeds than places
            taken.add((task.id, seed))
            if place % self.world == self.rank:
                starts.append((task, seed))
        starts.sort(key=lambda start: start[0].id)  # a browser page changes its task less often
        return self.dynamic.jobs(starts, f"{update}.{number}", config.max_steps)

    def _seed(self, number: int) -> int:
        return Random(f"sampling {self.config.seed} {self.standing.update} {number}").getrandbits(48)

    def _replayed(self, group: Group, number: int) -> Group:
        """The group with a past success in it where it needs one; its own successes are remembered."""
        if self.replay is None:
            return group
        random = Random(f"replay {self.config.seed} {self.standing.update} {number} {group[0].group}")
        filled = self.replay.fill(group, random, self.learner.wants_again)
        for member in group:
            if member.success:
                self.replay.add(member.task.id, member.seed, member.id)
        return filled

    def _recall(self) -> None:
        """The replay as it was at the present update: the store tells."""
        assert self.replay is not None
        earlier = []
        for summary in self.store.summaries():
            update, number = (int(part) for part in summary.group.partition("/")[0].split("."))
            if summary.success and self._learned_before(summary):
                earlier.append(((update, number, summary.group, summary.index), summary))
        for _, summary in sorted(earlier, key=lambda pair: pair[0]):
            self.replay.add(summary.task, summary.seed, summary.id)

    def _learned_before(self, summary: Summary) -> bool:
        """Whether an episode of the store was learned from before the present update."""
        return int(summary.group.partition(".")[0]) < self.standing.update

    async def _validate(self) -> dict[str, float]:
        """Greedy success on the validation seeds; better weights than ever before are kept. The first one, before anything was
        played, also tells the curriculum which tasks are solved already."""
        if not self.config.validation:
            return {}
        began = time.monotonic()
        starts = [(task, seed) for task in self.tasks for seed in validation_seeds(self.config.validation)]
        trajectories = await self._greedily(starts)
        found: dict[str, list[bool]] = {}
        for rank in gather(outcomes(trajectories)):
            for task, results in rank.items():
                found.setdefault(task, []).extend(results)
        graded = [success for results in found.values() for success in results]
        if not graded:
            raise EnvironmentFailure("no validation episode has a grade: the environment failed in all of them")
        success = sum(graded) / len(graded)
        standing = self.standing
        if standing.update == 0:
            self.curriculum.update([Played(task, sum(found[task]) / len(found[task])) for task in sorted(found)])
        standing.stale += 1
        if success > standing.best:
            standing.best, standing.best_update, standing.stale = success, standing.update, 0
            learned = await self._learned()
            if self.run is not None:
                save_state(self.config.output / "best.pt", {"model": learned, "update": standing.update})
        return {"validation": success, "validation_episodes": float(len(graded)), "validate_seconds": time.monotonic() - began}

    async def _greedily(self, starts: Sequence[tuple[Task, int]]) -> list[Trajectory]:
        """This rank's share of one greedy episode from each start."""
        return await self.player.greedily(group_jobs(starts[self.rank :: self.world], 1, "validation"))

    # ---------------------------------------------------------------------------------------------------------- saved state

    async def _save(self) -> None:
        """Save what a restart goes on from."""
        self._note_standing()
        self._save_now()

    def _note_standing(self) -> None:
        self.standing.curriculum, self.standing.flat_share = self.curriculum.state(), self.expansion.flat_share
        self.standing.dynamic, self.standing.rollouts = self.dynamic.state(), self._rollouts_state()

    def _save_now(self) -> None:
        self.store.sync()  # no state may know episodes that a power failure could still take away
        self.states.save(asdict(self.standing))

    def _rollouts_state(self) -> dict[str, Any]:
        """What asynchronous rollouts have to remember."""
        return {}

    def _load(self) -> None:
        if (standing := self.states.load()) is None:
            return
        self.standing = Standing(**standing)
        self.curriculum.load_state(self.standing.curriculum)
        self.dynamic.load_state(self.standing.dynamic)
        self.expansion.flat_share = self.standing.flat_share
        self._loaded()

    def _loaded(self) -> None:
        """Whoever plays goes on with the weights of the saved state."""
        self.engine.version = self.standing.update

    def _export(self) -> None:
        """The weights that are asked for as a directory: whole or not at all."""
        self.states.finish()
        state = self.states.whole()
        if self.run is None:
            return
        if self.config.validation and self.config.export == "best":
            best = torch.load(self.config.output / "best.pt", weights_only=True, map_location="cpu")["model"]
            if state is None:
                load_learned(self.learner.model, best)
            else:
                state |= best
        partial, final = self.config.output / "checkpoint.partial", self.config.output / "checkpoint"
        save_checkpoint(partial, self.learner.model, self.learner.renderer.processor, state)
        self.options.save(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)


def _shown(figures: dict[str, float]) -> dict[str, float]:
    return {name: figures[name] for name in ("validation", "reward", "kept", "flat", "grad_norm") if name in figures}
