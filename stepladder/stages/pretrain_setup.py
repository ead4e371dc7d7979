"""What pre-training starts from: corpora, tokenizer, model, and the documents of each phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from stepladder import corpora
from stepladder.config import ConfigError
from stepladder.corpora import generated_corpus
from stepladder.corpora.bandit import DomainBandit
from stepladder.corpora.conditioning import markers
from stepladder.corpora.corpus import Corpus
from stepladder.corpora.document import Document
from stepladder.corpora.mixture import Mixture, Schedule
from stepladder.data.demonstrations import Demonstrations
from stepladder.data.regions import RegionStore
from stepladder.data.vocabulary import tokenizer_corpus
from stepladder.images import ImageStore
from stepladder.models.attention import use_attention
from stepladder.models.heads import ContrastiveHead
from stepladder.models.renderer import Renderer
from stepladder.models.rope import Rope, remap, rope_of
from stepladder.models.small import whiten_patches
from stepladder.stages.agent_options import AgentOptions
from stepladder.stages.local_policy import load_policy
from stepladder.stages.pretrain_config import LengtheningPhase, PhaseName, PretrainConfig, PretrainPhase
from stepladder.stages.sft_setup import known_words, lessons, new_model, new_tokenizer, screen_patches, thought_corpus
from stepladder.train.devices import device_of, loading_device
from stepladder.train.document_mixture import DocumentMixture
from stepladder.train.documents import document_samples, token_count
from stepladder.train.mixtures import Share
from stepladder.train.shard import Pass, gathered
from stepladder.train.trainer import save_state

#: Pictures from which the patch embedding of a new model starts, at most, of each corpus.
WHITENED = 60
#: Documents of each corpus whose length is looked at to know how many make up the tokens of an update.
MEASURED = 32


@dataclass
class PretrainLearner:
    """The model that learns, and everything it learns with. `rope` are its rotary positions before any lengthening."""

    model: Qwen3VLForConditionalGeneration
    renderer: Renderer
    corpora: Mapping[str, Corpus]
    held_out: Mapping[str, Sequence[Document]]
    contrast: ContrastiveHead | None
    rope: Rope
    share: Share
    sharded: Pass | None = None

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict, whole on rank 0; all ranks must call it."""
        state: dict[str, Tensor] = self.model.state_dict()
        return state if self.sharded is None else gathered(state)

    def save(self, path: Path, done: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Weights after the phases `done`, with what each of them found."""
        contrast = None if self.contrast is None else self.contrast.state_dict()
        save_state(path, {"model": dict(weights), "contrast": contrast, "done": dict(done)})

    def load(self, path: Path) -> dict[str, Any]:
        """The phases that were done before, and what they found; empty when nothing was."""
        if not path.exists():
            return {}
        saved = torch.load(path, weights_only=True, map_location="cpu")
        self.model.load_state_dict(saved["model"])
        if self.contrast is not None:
            self.contrast.load_state_dict(saved["contrast"])
        return dict(saved["done"])

    def lengthen(self, phase: LengtheningPhase, context: int) -> None:
        """Remap the rotary positions for a context of so many tokens, from what they were before any lengthening."""
        remap(self.model, self.rope, phase.rope, context)


def build_pretrain_learner(config: PretrainConfig, share: Share) -> PretrainLearner:
    """The same on every rank: all of it follows from the corpora and the seed. Raises ConfigError and PluginError."""
    images = ImageStore(config.output / "images", cache=2048)
    corpora = {name: open_corpus(name, config, images) for name in config.sources}
    held_out = {name: corpus.held_out(config.held_out) for name, corpus in corpora.items()}
    empty = [name for name, documents in held_out.items() if not documents]
    if empty:
        raise ConfigError(
            f"corpora: {empty[0]!r} has no document that is held out; it needs more of them, or, where files are read as they are, "
            f"a larger part: options.{empty[0]}.share=3 holds out one document in three"
        )
    if config.checkpoint is None:
        model, renderer = _new_model(config, corpora, images)
    else:
        model, renderer = load_policy(config.checkpoint, images)
        _add_markers(model, renderer, _markers(config))
        renderer = Renderer(renderer.processor, images)
    use_attention(model)
    contrast = None
    if any(phase.contrastive for _, phase in config.phases()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            contrast = ContrastiveHead(model.config.text_config.hidden_size)
    try:
        rope = rope_of(model, _original_context(config))
    except ValueError as error:
        raise ConfigError(f"checkpoint: {error}") from error
    device = device_of(config.device)
    model, contrast = model.to(loading_device(device, config.shard)), None if contrast is None else contrast.to(device)
    return PretrainLearner(model.train(), renderer, corpora, held_out, contrast, rope, share)


def open_corpus(name: str, config: PretrainConfig, images: ImageStore) -> Corpus:
    """The corpus that the settings call `name`. Raises ConfigError, PluginError and CorpusError for what is not there."""
    options = config.options.get(name, {})
    if name not in config.corpora:
        return generated_corpus(name, images, **options)
    what = config.corpora[name]
    if "/" in what and not Path(what).exists():
        raise ConfigError(f"corpora.{name}: there is no file or folder {what}")
    return corpora.open_corpus(what, images, **options)


def build_documents(name: PhaseName, phase: PretrainPhase, learner: PretrainLearner, config: PretrainConfig) -> DocumentMixture:
    """The documents of one phase. Raises ConfigError when its updates are too small for its ranks."""
    schedule = Schedule.shift(phase.weights, phase.end_weights) if phase.end_weights else Schedule.constant(phase.weights)
    bandit = DomainBandit(schedule.names, warmup=phase.mixing_warmup) if phase.mixing == "bandit" else None
    documents = round(phase.tokens / mean_tokens(phase, schedule, learner))
    if documents < learner.share.world * phase.accumulate:
        raise ConfigError(
            f"{name}.tokens is {phase.tokens}, which is {documents} documents an update; {learner.share.world} ranks with "
            f"accumulate={phase.accumulate} pieces each need one document for each piece"
        )
    return DocumentMixture(
        learner.renderer,
        Mixture(learner.corpora, schedule, seed=config.seed + PHASE_SEEDS[name], steps=phase.steps, bandit=bandit),
        phase.conditioning,
        name=name,
        share=learner.share,
        documents=documents,
        context=phase.context,
        windows=phase.windows,
        accumulate=phase.accumulate,
        pairs=phase.contrastive > 0,
    )


#: Added to the run's seed, so that no phase begins with the documents that the one before it began with.
PHASE_SEEDS: dict[PhaseName, int] = {"core": 0, "continued": 1_000, "lengthening": 2_000, "annealing": 3_000}


def mean_tokens(phase: PretrainPhase, schedule: Schedule, learner: PretrainLearner) -> float:
    """Tokens with a loss that a document of this phase has on average, by the weights in its middle, from held-out documents."""
    total = 0.0
    for source, weight in schedule.weights(0.5).items():
        documents = learner.held_out[source][:MEASURED]
        counts = []
        for number, document in enumerate(documents):
            text = [(document.text, True)]
            samples = document_samples(
                learner.renderer, text, document.images, context=phase.context, key=f"{source} {number}, held out"
            )
            counts.append(token_count(samples[: phase.windows or None]))
        total += weight * sum(counts) / len(counts)
    return max(1.0, total)


def _original_context(config: PretrainConfig) -> int | None:
    """The context that the model is trained with before it is lengthened; None for what a checkpoint's configuration says."""
    if config.lengthening.original is not None or config.checkpoint is not None:
        return config.lengthening.original
    before = [phase.context for name, phase in config.phases() if name in ("core", "continued")]
    return max(before, default=config.model.context)


def _markers(config: PretrainConfig) -> list[str]:
    return list(dict.fromkeys(text for _, phase in config.phases() for text in markers(phase.conditioning)))


def _new_model(
    config: PretrainConfig, corpora: Mapping[str, Corpus], images: ImageStore
) -> tuple[Qwen3VLForConditionalGeneration, Renderer]:
    read = {name: [corpus.train(config.seed, i) for i in range(config.tokenizer_documents)] for name, corpus in corpora.items()}
    texts = [document.text for documents in read.values() for document in documents]
    demonstrations, words = None, list[str]()
    if config.demonstrations is not None:
        regions = RegionStore(config.demonstrations / "regions.jsonl")
        demonstrations = Demonstrations(lessons(config.demonstrations, AgentOptions().build(), regions), regions.get)
        words = known_words(demonstrations)
        texts = [*tokenizer_corpus(demonstrations, words), *thought_corpus(demonstrations), *texts]
    tokenizer = new_tokenizer(texts, words, config.vocabulary, _markers(config))
    model, renderer = new_model(config.model, tokenizer, images, config.seed)
    patches: list[Tensor] = []
    for documents in read.values():
        shown = [image for document in islice((d for d in documents if d.images), WHITENED) for image in document.images]
        patches += [renderer.pixels(shown)[0]] if shown else []
    if demonstrations is not None and demonstrations.count:
        other = Renderer(renderer.processor, ImageStore(config.demonstrations / "images"))  # type: ignore[operator]
        patches.append(screen_patches(demonstrations, other))
    if patches:
        whiten_patches(model, torch.cat(patches), config.seed)
    return model, renderer


def _add_markers(model: Qwen3VLForConditionalGeneration, renderer: Renderer, wanted: Sequence[str]) -> None:
    """Make each marker one token of a given checkpoint. Its new rows begin as the mean of the others."""
    missing = [text for text in wanted if renderer.single_token(text) is None]
    if not missing:
        return
    tokenizer: Any = renderer.processor.tokenizer
    rows = model.get_input_embeddings().num_embeddings
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in missing])
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    new = [tokenizer.convert_tokens_to_ids(text) for text in missing]
    with torch.no_grad():
        for embeddings in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            embeddings[new] = embeddings[: min(new)].mean(0)
