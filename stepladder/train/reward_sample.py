"""Samples of a reward model: an answer whose last token is where the score stands.

The trainer knows scores of tokens that are predicted (a critic's). So what is predicted here is one more token after the answer,
the one that ends a reply: the state that predicts it is that of the answer's last token, which has seen all of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepladder.algos.credit import Credit
from stepladder.models.renderer import Renderer
from stepladder.train.sample import Sample, from_reply, share_prefix
from stepladder.types import Completion, Message, Prompt

#: What stands between the reply of the policy in question and the one that is scored.
LIKE_THIS = "Another attempt at the same:"


def score_credit(slope: float = 0.0) -> Credit:
    """Credit of the token after the answer: `slope` is the derivative of the loss by the score (`PolicyObjective.value_slopes`).
    The weight of the policy gradient, whose advantage is 0, makes the token one of those that are looked at."""
    return Credit(pg=1.0, advantage=0.0, returns=np.array([slope], dtype=np.float32))


def answer_sample(
    renderer: Renderer,
    prompt: Prompt,
    reply: Completion,
    *,
    reference: str | None = None,
    recorded: bool = True,
    slope: float = 0.0,
    key: str = "",
) -> Sample:
    """The sample of `reply` to `prompt`, whose one trained token has the credit of `score_credit`.

    The ids that were `recorded` are used where there are any; they must be those of the renderer's vocabulary. With a
    `reference`, the text of another reply to the same prompt, the answer stands after it, and everything is rendered anew."""
    if reference is None and recorded and prompt.tokens is not None:
        asked, spans = prompt.tokens, prompt.image_spans
    else:
        rendered = renderer.render(prompt.messages if reference is None else _beside(prompt.messages, reference))
        assert rendered.tokens is not None
        asked, spans = rendered.tokens, rendered.image_spans
    said = reply.tokens if recorded and reply.tokens is not None else renderer.reply(reply.text)
    after = np.array([renderer.stop_ids[0]], dtype=np.int32)
    answer = np.concatenate([asked, said]).astype(np.int32)
    return from_reply(renderer, prompt.messages, after, prompt=answer, spans=spans, credit=score_credit(slope), key=key)


def side_by_side(samples: Sequence[Sample]) -> list[Sample]:
    """The answers of one pair as one sample, in which what they have in common stands once; as they are where their pictures
    differ or a picture stands after the place at which they part."""
    try:
        return [share_prefix(samples)]
    except ValueError:
        return list(samples)


def _beside(messages: Sequence[Message], reference: str) -> tuple[Message, ...]:
    return (*messages, Message("assistant", (reference,)), Message("user", (LIKE_THIS,)))
