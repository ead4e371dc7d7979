"""What supervised training starts from: data, model, tokenizer, agent, and the mixture of each phase."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, cast, get_args

import torch
from transformers import PreTrainedTokenizerBase, Qwen3VLForConditionalGeneration

from stepladder.agents.replies import write_past
from stepladder.agents.thought_levels import REQUESTS
from stepladder.config import ConfigError
from stepladder.data.copying import Copying
from stepladder.data.demonstrations import VALIDATION_SHARE, Demonstrations
from stepladder.data.perception_question import Kind
from stepladder.data.regions import RegionStore
from stepladder.data.screen_pool import HELD_OUT_SPLITS, VISITED_FILE, Screen, ScreenPool, VisitedScreens, page_screen
from stepladder.data.vocabulary import CALL_FRAGMENTS, label_words, screen_words, tokenizer_corpus
from stepladder.images import ImageStore
from stepladder.interfaces import Agent
from stepladder.models.attention import use_attention
from stepladder.models.checkpoint import load_checkpoint
from stepladder.models.heads import PerceptionHead
from stepladder.models.lora import add_adapters, learned_state, load_learned
from stepladder.models.processor import ImageTextProcessor, image_processor
from stepladder.models.renderer import Renderer
from stepladder.models.small import SmallModel, build_model, whiten_patches
from stepladder.models.tokenizer import build_tokenizer
from stepladder.models.vision import use_batched_vision
from stepladder.store import TrajectoryStore
from stepladder.train.devices import device_of, loading_device
from stepladder.train.mixtures import ActingMixture, CopyingMixture, Kit, LookingMixture, Mixture, Share
from stepladder.train.shard import Pass, gathered
from stepladder.train.trainer import save_state
from stepladder.types import Step, Trajectory

if TYPE_CHECKING:
    from stepladder.stages.sft import PhaseConfig, PhaseName, SftConfig

_logger = logging.getLogger(__name__)
#: Kinds of widgets that the perception head knows, each with the word by which instructions call it.
WIDGET_KINDS = {
    "textbox": "text",
    "password": "password",
    "radio": "radio",
    "checkbox": "checkbox",
    "textarea": "textarea",
    "select": "select",
    "slider": "slider",
    "button": "button",
    "close": "x",
}
#: Symbols that are classes of their own for the perception head, besides words: digits and what stands in sums.
SYMBOLS = tuple("0123456789+-=x")
#: In the directory of the demonstrations: what was collected, and what people have played and corrected (`stepladder play`).
COLLECTED_FILE, PLAYS_FILE = "trajectories.jsonl", "plays.jsonl"
HELD_OUT_PAGES, HELD_OUT_SCREENS = 128, 64
#: Thoughts that a new tokenizer is made from, at most.
THOUGHTS = 3000
#: The perception head beside an exported checkpoint. The model does not need it to act; further training goes on with it.
HEAD_FILE = "perception_head.pt"


@dataclass
class Learner:
    """The model that learns and everything it learns with."""

    model: Qwen3VLForConditionalGeneration
    head: PerceptionHead
    renderer: Renderer
    kit: Kit
    demonstrations: Demonstrations
    screens: ScreenPool
    visited: VisitedScreens
    sharded: Pass | None = None

    def save(self, path: Path, done: Sequence[str]) -> None:
        """Weights after the phases `done`; all ranks must call it."""
        model = gathered(learned_state(self.model)) if self.sharded is not None else learned_state(self.model)
        if self.kit.share.rank == 0:
            save_state(path, {"model": model, "head": self.head.state_dict(), "done": list(done)})

    def load(self, path: Path) -> list[str]:
        """The phases that were done before; empty when nothing was."""
        if not path.exists():
            return []
        saved = torch.load(path, weights_only=True, map_location="cpu")
        load_learned(self.model, saved["model"])
        self.head.load_state_dict(saved["head"])
        return list(saved["done"])


def lessons(directory: Path, agent: Agent, regions: RegionStore) -> Iterator[Trajectory]:
    """What was collected there, and what people have played there: plays for which `agent` has words, of which those steps are
    learned that were made on a screen with known regions. Raises NoStore where there is neither."""
    collected, played = directory / COLLECTED_FILE, directory / PLAYS_FILE
    if collected.exists() or not played.exists():
        with TrajectoryStore(collected) as store:
            yield from store
    if played.exists():
        with TrajectoryStore(played) as store:
            for trajectory in store:
                if _can_say(agent, trajectory):
                    yield replace(trajectory, steps=tuple(_on_known_screens(trajectory.steps, regions)))


def _can_say(agent: Agent, trajectory: Trajectory) -> bool:
    try:
        for step in trajectory.steps:
            write_past(agent, step)
    except ValueError as error:
        _logger.warning("%s is left out: %s", trajectory.id, error)
        return False
    return True


def _on_known_screens(steps: Sequence[Step], regions: RegionStore) -> Iterator[Step]:
    for step in steps:
        screen = step.observation.screenshot
        yield step if screen is not None and screen in regions else replace(step, imitated="nothing")


def build_learner(config: SftConfig, share: Share) -> Learner:
    """The same on every rank: all of it follows from the data and the seed."""
    directory = config.demonstrations
    images = ImageStore(directory / "images", cache=4096)
    regions = RegionStore(directory / "regions.jsonl")
    demonstrations = Demonstrations(lessons(directory, config.agent.build(), regions), regions.get)
    if not demonstrations.validation:
        raise ConfigError(
            f"demonstrations: none of the {demonstrations.count} in {directory} is held back for validation (one in "
            f"{VALIDATION_SHARE} is, chosen by its id); collect more"
        )
    words = known_words(demonstrations)
    if config.checkpoint is None:
        tokenizer = new_tokenizer([*tokenizer_corpus(demonstrations, words), *thought_corpus(demonstrations)], words)
        model, renderer = new_model(config.model, tokenizer, images, config.seed)
        whiten_patches(model, screen_patches(demonstrations, renderer), config.seed)
    else:
        if not config.checkpoint.is_dir():
            raise ConfigError(f"checkpoint: {config.checkpoint} is no directory")
        model, processor = load_checkpoint(config.checkpoint)
        renderer = Renderer(processor, images)
    use_attention(model)
    add_adapters(model, config.lora, config.seed)
    tokens = {word: token for word in [*words, *SYMBOLS] if (token := renderer.single_token(word)) is not None}
    kinds = {kind: token for kind, word in WIDGET_KINDS.items() if (token := renderer.single_token(word)) is not None}
    saved_head = None if config.checkpoint is None else config.checkpoint / HEAD_FILE
    if saved_head is not None and saved_head.exists():
        head = PerceptionHead.load(saved_head)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            head = PerceptionHead(model.config.text_config.hidden_size, kinds, tokens)
    size = next((step.screenshot for step in demonstrations.validation if step.screenshot is not None), None)
    width, height = (config.model.screen, config.model.screen) if size is None else (size.width, size.height)
    labels = [word for word in label_words(demonstrations) if word in tokens]
    screens = ScreenPool(
        images, "train", config.screens, width, height, labels, round(config.ignore_above), config.kinds.get("change", 0.0) > 0
    )
    # Where thoughts are asked for, what has none is asked for nothing.
    agent, plain = config.agent.build(), config.bare if config.agent.level in ("thought", "observation") else config.agent
    wide = replace(plain, screenshots=max(2, plain.screenshots)).build()
    bare = config.bare.build() if config.thought_dropout else None
    kit = Kit(renderer, agent, head, config.seed, share, plain=plain.build(), wide=wide, bare=bare)
    visited = VisitedScreens(
        _visits(directory),
        regions.get,
        known=demonstrations.screenshots(),
        weights=config.weights,
        ignore_above=config.ignore_above,
    )
    device = device_of(config.device)
    model = model.to(loading_device(device, config.shard))
    return Learner(model.train(), head.to(device), renderer, kit, demonstrations, screens, visited)


def known_words(demonstrations: Demonstrations) -> list[str]:
    """Words on the screens that become one token each, besides those for kinds of widgets."""
    return [word for word in screen_words(demonstrations) if word not in WIDGET_KINDS.values()]


def thought_corpus(demonstrations: Demonstrations) -> list[str]:
    """What is written before actions, where the demonstrations have it: with its words in the vocabulary it takes few tokens, in
    this training or in a later one."""
    thoughts = demonstrations.thoughts()[:THOUGHTS]
    return [*thoughts, *[REQUESTS["action"]] * 20] if thoughts else []


def new_tokenizer(
    corpus: Sequence[str], words: Sequence[str], vocabulary: int = 4000, markers: Sequence[str] = ()
) -> PreTrainedTokenizerBase:
    """A tokenizer for a model from nothing: the pieces of tool calls, the `words` and the `markers` are one token each."""
    return build_tokenizer(corpus, vocabulary, [*CALL_FRAGMENTS, *markers], [*words, *WIDGET_KINDS.values()])


def new_model(
    sizes: SmallModel, tokenizer: PreTrainedTokenizerBase, images: ImageStore, seed: int
) -> tuple[Qwen3VLForConditionalGeneration, Renderer]:
    """A small model with random weights, and its renderer."""
    pictures = image_processor(sizes.patch, sizes.merge)
    renderer = Renderer(ImageTextProcessor(pictures, tokenizer, tokenizer.chat_template), images)
    model = build_model(sizes, tokenizer, seed)
    use_batched_vision(model)
    return model, renderer


def screen_patches(demonstrations: Demonstrations, renderer: Renderer) -> torch.Tensor:
    """Patches of sixty demonstrated screens, for `whiten_patches`; of synthetic ones where the demonstrations show none."""
    drawn = [step.screenshot for step in demonstrations.draw(Random("whiten"), 60, {})]
    shown = [image for image in drawn if image is not None]
    if not shown:
        assert renderer.images is not None
        pool = ScreenPool(renderer.images, "train", 60, 224, 224)
        shown = [pool[number].image for number in range(len(pool))]
    return renderer.pixels(shown)[0]


def _visits(directory: Path) -> Iterator[Trajectory]:
    path = directory / VISITED_FILE
    if path.exists():
        with TrajectoryStore(path) as store:
            yield from store


def build_mixture(name: PhaseName, phase: PhaseConfig, learner: Learner, config: SftConfig) -> Mixture:
    """The data of one phase."""
    kit, demonstrations = learner.kit, learner.demonstrations
    if phase.accumulate < 1 or phase.batch < phase.accumulate * kit.share.world:
        raise ConfigError(
            f"{name}: batch {phase.batch} is too small for {kit.share.world} ranks with accumulate={phase.accumulate} pieces each"
        )
    if phase.practice < 0 or phase.visits < 0 or phase.practice + phase.visits > phase.batch:
        raise ConfigError(
            f"{name}: practice is {phase.practice} and visits {phase.visits}; they are parts of the batch of {phase.batch}"
        )
    kit.accumulate = phase.accumulate
    if name == "copying":
        return CopyingMixture(kit, _copying("copying.steps", demonstrations), phase.batch)
    if name == "perception":
        return _perception(phase, learner, config)
    return ActingMixture(
        kit,
        demonstrations,
        learner.screens,
        batch=phase.batch,
        practice=phase.practice,
        questions=config.questions,
        practice_questions=config.practice_questions,
        weights=config.weights,
        copying=_copying(f"{name}.copies", demonstrations) if phase.copies else None,
        copies=phase.copies,
        visited=learner.visited if len(learner.visited) else None,
        visits=phase.visits,
        perceive=name == "cloning",
        ignore_above=config.ignore_above,
        kinds=_kinds(config),
        thought_dropout=config.thought_dropout,
    )


def _kinds(config: SftConfig) -> dict[Kind, float]:
    """The weights of perception questions: those of the three usual kinds add up to 1, and the others come on top.

    Raises ConfigError.
    """
    unknown = [kind for kind in config.kinds if kind not in get_args(Kind)]
    if unknown:
        raise ConfigError(f"kinds: there is no kind of question {unknown[0]!r}; there are {', '.join(get_args(Kind))}")
    rest = (1 - config.grounding) / 2
    usual: dict[Kind, float] = {"grounding": config.grounding, "reading": rest, "state": rest}
    return usual | cast(dict[Kind, float], dict(config.kinds))


def _copying(setting: str, demonstrations: Demonstrations) -> Copying:
    trajectories = {step.trajectory.id: step.trajectory for steps in demonstrations.train.values() for step in steps}
    try:
        return Copying(list(trajectories.values()))
    except ValueError as error:
        raise ConfigError(f"{error}; do without copying by {setting}=0") from error


def _perception(phase: PhaseConfig, learner: Learner, config: SftConfig) -> LookingMixture:
    demonstrations, pool = learner.demonstrations, learner.screens

    def page(random: Random) -> Screen:
        while True:
            image = demonstrations.draw(random, 1, config.weights)[0].screenshot
            if image is not None and demonstrations.knows(image):
                return page_screen(image, demonstrations.regions(image), config.ignore_above)

    weighed = [steps for task, steps in demonstrations.train.items() if config.weights.get(task, 1.0)]
    if not any(demonstrations.knows(step.screenshot) for steps in weighed for step in steps):
        raise ConfigError(
            f"perception: no demonstration in {config.demonstrations} has a screenshot on which it is known what is where; do "
            "without by perception.steps=0"
        )
    shown = {step.screenshot: None for step in demonstrations.validation if step.screenshot is not None}
    validation = [image for image in shown if demonstrations.knows(image)]
    held_out = {"pages": [page_screen(i, demonstrations.regions(i), config.ignore_above) for i in validation[:HELD_OUT_PAGES]]}
    for split in HELD_OUT_SPLITS:
        unseen = ScreenPool(pool.images, split, HELD_OUT_SCREENS, pool.width, pool.height, pool.known, pool.top)
        held_out[split] = [unseen[number] for number in range(len(unseen))]
    visits = phase.visits if len(learner.visited) else 0
    others = [pool.draw] * phase.practice + [learner.visited.draw] * visits
    return LookingMixture(learner.kit, [*others, *[page] * (phase.batch - len(others))], held_out)
