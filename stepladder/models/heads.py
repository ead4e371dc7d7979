"""Heads that exist during training only; the checkpoint that is exported does not have them.

`PerceptionHead` teaches the vision tower what stands under each visual token, far more directly than a loss on a reply can: which
word (by the language model's own word embeddings, so that what is seen and what is asked meet in one space), which letters, which
kind of widget, and where the centre of the thing to click is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789#@-+=.,:/'"
LETTER_SLOTS = 10
BLANK_LETTER = len(LETTERS)
NOTHING_WEIGHT = 0.2
#: What `PerceptionHead.accuracy` measures.
MEASURES = ("seen", "spelled")


@dataclass
class VisualTargets:
    """What stands under V visual tokens: `label` int64[V] (0 nothing, then kinds, then words; -100 unknown), `letters`
    int64[V, LETTER_SLOTS] (-100 where there is no word, BLANK_LETTER after its end), `centre` float32[V, 2] in 0..1 of the
    screenshot's width and height, meaningful where label > 0 or letters are given (`located` bool[V])."""

    label: Tensor
    letters: Tensor
    centre: Tensor
    located: Tensor

    def to(self, device: torch.device) -> VisualTargets:
        return VisualTargets(*(tensor.to(device) for tensor in (self.label, self.letters, self.centre, self.located)))

    def counts(self) -> dict[str, float]:
        """The denominators of the three losses."""
        return {
            "word": float(torch.where(self.label == 0, NOTHING_WEIGHT, 1.0)[self.label >= 0].sum()),
            "letters": float((self.letters >= 0).sum()),
            "centre": float(self.located.sum() * 2),
        }


class PerceptionHead(nn.Module):
    """Classes are: 0 nothing, 1..K the widget kinds, then one per word that is a single token of the vocabulary.

    `kinds` and `words` map a class to its token id; a kind of widget has that of the word by which instructions call it.
    """

    def __init__(self, hidden: int, kinds: Mapping[str, int], words: Mapping[str, int]) -> None:
        super().__init__()
        self.kinds = tuple(kinds)
        self.words = tuple(words)
        self.token_ids: Tensor
        self.register_buffer("token_ids", torch.tensor([*kinds.values(), *words.values()], dtype=torch.int64))
        self.nothing = nn.Parameter(torch.randn(1, hidden) * 0.02)
        self.centre = nn.Linear(hidden, 2)
        self.letters = nn.Linear(hidden, LETTER_SLOTS * (len(LETTERS) + 1))
        self.label_of = {kind: 1 + i for i, kind in enumerate(self.kinds)}
        self.word_label = {word: 1 + len(self.kinds) + i for i, word in enumerate(self.words)}

    def save(self, path: Path) -> None:
        """Write the head beside a checkpoint, so that training can go on with it."""
        classes = {"kinds": dict(zip(self.kinds, self.token_ids.tolist(), strict=False))}
        classes["words"] = dict(zip(self.words, self.token_ids.tolist()[len(self.kinds) :], strict=True))
        torch.save({"hidden": self.centre.in_features, **classes, "state": self.state_dict()}, path)

    @classmethod
    def load(cls, path: Path) -> PerceptionHead:
        saved = torch.load(path, weights_only=True, map_location="cpu")
        head = cls(saved["hidden"], saved["kinds"], saved["words"])
        head.load_state_dict(saved["state"])
        return head

    def losses(self, visual: Tensor, embeddings: Tensor, targets: VisualTargets) -> dict[str, Tensor]:
        """Sums (not means) of the word, letter and centre losses over visual tokens float[V, hidden]; `embeddings` is the language
        model's input embedding matrix."""
        features, logits = self._classify(visual, embeddings)
        weight = torch.ones(logits.shape[1], device=logits.device)
        weight[0] = NOTHING_WEIGHT
        word = F.cross_entropy(logits, targets.label, weight=weight, ignore_index=-100, reduction="sum")
        located = targets.located
        centre = (self.centre(features[located]) - targets.centre[located]).abs().sum()
        written = (targets.letters >= 0).any(1)
        spelled = self.letters(features[written]).view(-1, len(LETTERS) + 1)
        letters = F.cross_entropy(spelled, targets.letters[written].reshape(-1), ignore_index=-100, reduction="sum")
        return {"word": word, "letters": letters, "centre": centre}

    @torch.no_grad()
    def accuracy(self, visual: Tensor, embeddings: Tensor, targets: VisualTargets) -> dict[str, tuple[float, float]]:
        """(hits, n): label of the visual tokens that show a known word or a widget, and all letters of a word right."""
        features, logits = self._classify(visual, embeddings)
        shown = targets.label > 0
        hits = logits[shown].argmax(-1) == targets.label[shown]
        written = (targets.letters >= 0).any(1)
        guess = self.letters(features[written]).view(-1, LETTER_SLOTS, len(LETTERS) + 1).argmax(-1)
        exact = (guess == targets.letters[written]).all(1)
        return {
            "seen": (float(hits.sum()), float(shown.sum())),
            "spelled": (float(exact.sum()), float(written.sum())),
        }

    def _classify(self, visual: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features float32[V, hidden] and the logits of all classes."""
        features = visual.float()
        features = features * torch.rsqrt(features.pow(2).mean(-1, keepdim=True) + 1e-6)
        return features, features @ torch.cat([self.nothing, embeddings[self.token_ids].float()]).T


class ValueHead(nn.Module):
    """The critic: expected return before each token, from the hidden state that predicts it.

    By itself it reads the policy's states and does not change them (no gradient goes on into the model), so that a critic which is
    still wrong cannot spoil the policy. With `shared` its gradient goes on. With a `trunk`, a language model of its own that begins
    as the policy's (`own_trunk`), the states are the trunk's, and all of it learns.
    """

    def __init__(self, hidden: int, width: int = 256, shared: bool = False, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(hidden, width), nn.Linear(width, 1)
        nn.init.zeros_(self.outer.weight)
        self.keeps_gradient = shared or trunk is not None
        self.trunk = trunk

    def forward(self, states: Tensor) -> Tensor:
        """float[N] from float[N, hidden]."""
        states = states if self.keeps_gradient else states.detach()
        values: Tensor = self.outer(F.silu(self.inner(states.to(self.inner.weight.dtype))))[..., 0]
        return values


def own_trunk(model: Qwen3VLForConditionalGeneration) -> nn.Module:
    """A copy of a policy's language model for a critic. It has no eyes: it is given what the policy's vision tower saw."""
    left_out = {id(module): nn.Identity() for module in (model.model.visual, model.lm_head)}
    trunk: nn.Module = copy.deepcopy(model, left_out)
    return trunk


def letter_targets(word: str) -> list[int]:
    """LETTER_SLOTS letter classes of a word; letters outside LETTERS are unknown (-100), words longer than the slots are cut."""
    known = [LETTERS.find(letter) for letter in word[:LETTER_SLOTS]]
    codes = [code if code >= 0 else -100 for code in known]
    return codes + [BLANK_LETTER] * (LETTER_SLOTS - len(codes))


class ContrastiveHead(nn.Module):
    """Pictures and texts in one space, where a picture is nearest to its own text (CLIP, A. Radford et al., arXiv 2103.00020,
    figure 3). The temperature is learned; it begins at 0.07 and its inverse never exceeds 100 (section 2.5 there)."""

    def __init__(self, hidden: int, width: int = 128) -> None:
        super().__init__()
        self.picture, self.text = nn.Linear(hidden, width, bias=False), nn.Linear(hidden, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def pictures(self, visual: Tensor, lengths: Sequence[int]) -> Tensor:
        """float32[pictures, width] of length 1: the projected mean of each picture's visual tokens float[V, hidden], of which the
        pictures have `lengths`."""
        means = torch.stack([tokens.float().mean(0) for tokens in visual.split(list(lengths))])
        return F.normalize(F.linear(means, self.picture.weight), dim=-1)

    def texts(self, states: Tensor) -> Tensor:
        """float32[texts, width] of length 1, from each text's last hidden state float[texts, hidden]."""
        return F.normalize(F.linear(states.float(), self.text.weight), dim=-1)

    def loss(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """InfoNCE over n pairs: the mean of -log softmax_j(scale <picture_i, text_j>)_i, and of the roles exchanged."""
        logits = self.log_scale.exp() * pictures @ texts.T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2

    @torch.no_grad()
    def clamp(self) -> None:
        """Bring the temperature back within its bounds, after an update."""
        self.log_scale.clamp_(max=math.log(100.0))
