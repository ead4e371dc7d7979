"""A comparison as one page without outside resources, with the screens at which the episodes of flipped starts part."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from html import escape

from PIL import Image

from stepladder.compare.comparison import Comparison, Flip, shown_flips
from stepladder.compare.divergence import Divergence
from stepladder.compare.facts import facts
from stepladder.compare.pairing import Paired
from stepladder.compare.sides import Side
from stepladder.compare.table import parting_words, spending_rows
from stepladder.report.frames import describe_actions, draw_action, outcome
from stepladder.report.style import CSS
from stepladder.report.words import percent, points
from stepladder.stats import wilson_interval
from stepladder.store import TrajectoryStore
from stepladder.types import Action, ImageRef, Trajectory

#: Screens as they are shown, in CSS pixels.
_WIDEST = 420
#: Pictures wider than this become JPEG, so that a page of large screens can still be sent.
_PNG_WIDTH = 640
_MORE_CSS = """
.plot .join { height: 2px; margin-top: -1px; background: var(--muted); }
.plot .open { background: var(--paper); border: 1.5px solid var(--ink); }
.beware { border-left: 3px solid var(--series-2); padding: .1rem 0 .1rem .9rem; margin: 1.2rem 0; }
.beware p { margin: 0; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem 1.6rem; }
.sides h4 { font-size: .86rem; font-weight: 600; margin: 0 0 .4rem; }
.sides .frames figure { max-width: 100%; } .sides .frames img { max-width: 100%; }
@media (max-width: 44rem) { .sides { grid-template-columns: 1fr; } }
"""


def html_page(data: Comparison, most_flips: int = 12) -> str:
    """The whole page as text, with the screens of at most `most_flips` starts. Pictures that are not there are left out and said
    to be missing."""
    names = _names(data)
    title = f"{names[1]} against {names[0]}"
    parts = [
        f'<p class="kicker">Stepladder comparison</p><h1>{escape(title)}</h1><p class="lede">{escape(_lede(data))}</p>',
        *_headline(data, names),
        *_warnings(data),
        *_rates("Each domain", "Domain", data.domains),
        *_flips(data, names, most_flips),
        *_rates("Each task", "Task", data.tasks),
        *_spending(data, names),
        *_small_print(data),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}{_MORE_CSS}</style></head><body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _names(data: Comparison) -> tuple[str, str]:
    """What the sides are called: their policies, with the directory where these are the same."""
    first, second = data.first, data.second
    if first.policy != second.policy:
        return first.policy, second.policy
    return tuple(f"{side.policy} of {side.store_path.parent.name or side.store_path.parent}" for side in (first, second))  # type: ignore[return-value]


def _lede(data: Comparison) -> str:
    total = data.overall
    better = "the second" if total.paired.difference > 0 else "the first"
    if total.paired.difference == 0:
        return "Both succeed equally often on the starts that both have played."
    sure = total.low > 0 or total.high < 0
    return (
        f"On the starts that both have played {better} succeeds more often, by more than chance explains."
        if sure and total.paired.p < 1 - total.confidence
        else f"On the starts that both have played {better} succeeds more often, by no more than chance may explain."
    )


def _headline(data: Comparison, names: tuple[str, str]) -> Iterator[str]:
    total, paired = data.overall, data.overall.paired
    rows = "".join(
        _ladder_row(name, rate, paired.n, kind, total.confidence)
        for name, rate, kind in zip(names, (paired.first, paired.second), ("baseline", "dot"), strict=True)
    )
    span = f"{points(total.low)} to {points(total.high)} at {100 * total.confidence:g} %"
    yield (
        f'<section class="headline"><div><div class="figure">{points(paired.difference)}</div>'
        f'<p>points of {paired.n:,} starts<br><span class="note">{span}<br>p = {paired.p:.2g} ({escape(paired.method)})</span></p>'
        f'</div><div><table class="ladder"><tbody>{rows}</tbody></table>'
        f'<p class="note">{paired.gained:,} starts gained, {paired.lost:,} lost, '
        f"{paired.n - paired.gained - paired.lost:,} ended alike.</p></div></section>"
    )


def _ladder_row(name: str, rate: float, n: int, kind: str, confidence: float) -> str:
    low, high = wilson_interval(rate * n, n, confidence)
    return (
        f'<tr class="{kind}"><th>{escape(name)}</th><td class="wide"><span class="plot">'
        f'<i class="span" style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'<i class="dot" style="left:{100 * rate:.2f}%"></i></span></td>'
        f'<td class="num strong">{percent(rate)}</td><td class="num faint extra">{percent(low, 0)} to {percent(high, 0)}</td></tr>'
    )


def _warnings(data: Comparison) -> Iterator[str]:
    if data.warnings:
        lines = "".join(f"<p>{escape(warning[:1].upper() + warning[1:])}.</p>" for warning in data.warnings)
        yield f'<div class="beware small">{lines}</div>'


def _rates(title: str, heading: str, rows: Sequence[Paired]) -> Iterator[str]:
    if not rows:
        return
    body = []
    for row in sorted(rows, key=lambda row: (row.difference, row.name)):
        left, right = sorted((row.first, row.second))
        tone = "" if row.difference == 0 else ' class="good"' if row.difference > 0 else ' class="bad"'
        body.append(
            f'<tr><th>{escape(row.name)}</th><td class="wide"><span class="plot">'
            f'<i class="join" style="left:{100 * left:.2f}%;width:{100 * (right - left):.2f}%"></i>'
            f'<i class="open" style="left:{100 * row.first:.2f}%"></i>'
            f'<i class="dot" style="left:{100 * row.second:.2f}%"></i></span></td>'
            f'<td class="num">{percent(row.first, 0)}</td><td class="num strong">{percent(row.second, 0)}</td>'
            f'<td class="num"><span{tone}>{points(row.difference) if row.difference else "0"}</span></td>'
            f'<td class="num extra">{row.gained}</td><td class="num extra">{row.lost}</td><td class="num faint extra">{row.n}</td>'
            f'<td class="num faint">{row.p if row.adjusted is None else row.adjusted:.2g}</td></tr>'
        )
    heads = "".join(
        f'<th class="num{more}">{name}</th>'
        for name, more in (
            *(("First", ""), ("Second", ""), ("Points", ""), ("Gained", " extra"), ("Lost", " extra"), ("Starts", " extra")),
            ("p", ""),
        )
    )
    yield (
        f"<h2>{title}</h2>"
        '<ul class="legend note"><li><span class="plot"><i class="open" style="left:50%"></i></span>first</li>'
        '<li><span class="plot"><i class="dot" style="left:50%"></i></span>second</li><li>p after Holm’s correction for this table'
        "</li></ul>"
        f'<div class="scroll"><table><thead><tr><th>{heading}</th><th>0 to 100 %</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _flips(data: Comparison, names: tuple[str, str], most: int) -> Iterator[str]:
    yield "<h2>Starts that flipped</h2>"
    if not data.flips:
        yield '<p class="note">None: every start ended alike.</p>'
        return
    shown = shown_flips(data.flips, most)
    yield (
        f'<p class="note">{len(shown):,} of {len(data.flips):,}. Each with the last screen that both saw, what each did there, and '
        "what came of it. A ring marks a click, an arrow a drag or a scroll.</p>"
    )
    with ExitStack() as stack:
        stores = [stack.enter_context(TrajectoryStore(side.store_path)) for side in (data.first, data.second)]
        for flip in shown:
            pair = stores[0].get(flip.first), stores[1].get(flip.second)
            sides = "".join(
                _side(f"{order}: {name}", trajectory, side, flip.divergence)
                for order, name, trajectory, side in zip(("First", "Second"), names, pair, (data.first, data.second), strict=True)
            )
            yield _article(flip, pair[0], sides)


def _article(flip: Flip, trajectory: Trajectory, sides: str) -> str:
    tone, word = ("good", "gained") if flip.gained else ("bad", "lost")
    return (
        f'<article class="strip"><header><h3>{escape(flip.task)}</h3><span class="small {tone}">{word}</span>'
        f'<span class="small">seed {flip.seed}</span>'
        f'<span class="small">they part {escape(parting_words(flip.divergence))}</span></header>'
        f'<blockquote>{escape(trajectory.task.instruction)}</blockquote><div class="sides">{sides}</div></article>'
    )


def _side(name: str, trajectory: Trajectory, side: Side, parted: Divergence | None) -> str:
    figures = "".join(_figure(ref, action, caption, side) for ref, action, caption in _screens(trajectory, parted))
    count = len(trajectory.steps)
    ended = f"{outcome(trajectory)}, {count} step{'' if count == 1 else 's'}"
    return f'<div><h4>{escape(name)}</h4><div class="frames">{figures}</div><p class="note">{escape(ended)}</p></div>'


def _screens(trajectory: Trajectory, parted: Divergence | None) -> Iterator[tuple[ImageRef, Action | None, str]]:
    """The screen at which it was decided and the next one, where they have pictures: (picture, what was done on it, words)."""
    steps = trajectory.steps
    if parted is None:
        decided = len(steps) - 1
    else:
        decided = 0 if parted.decided is None else parted.decided
    for position in (decided, decided + 1):
        if 0 <= position < len(steps):
            ref, action = steps[position].observation.screenshot, steps[position].action
            caption = f"{position + 1}. {describe_actions(steps[position])}"
        elif position == len(steps) and trajectory.final is not None:
            ref, action, caption = trajectory.final.screenshot, None, "the last screen"
        else:
            continue
        if ref is not None:
            yield ref, action, caption


def _figure(ref: ImageRef, action: Action | None, caption: str, side: Side) -> str:
    try:
        picture = draw_action(side.images.load(ref), action)
    except (KeyError, ValueError, OSError):
        return f"<figure><figcaption>{escape(caption)} (picture {ref.sha256[:12]} is missing)</figcaption></figure>"
    shown = min(1.0, ref.width / picture.width, _WIDEST / picture.width)
    width, height = round(picture.width * shown), round(picture.height * shown)
    return (
        f'<figure style="width:min({width}px, 80vw)"><img alt="{escape(caption)}" width="{width}" height="{height}" '
        f'src="{_data_address(picture)}"><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _data_address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    kind = "png" if picture.width <= _PNG_WIDTH else "jpeg"
    picture.convert("RGB").save(buffer, kind, **({} if kind == "png" else {"quality": 82}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _spending(data: Comparison, names: tuple[str, str]) -> Iterator[str]:
    rows = "".join(
        f'<tr><th>{escape(what)}</th><td class="num">{first}</td><td class="num">{second}</td></tr>'
        for what, first, second in spending_rows(data.spending)
    )
    yield (
        '<h2>What it took</h2><p class="note">On the starts in common. What stands for each success counts all episodes.</p>'
        f'<div class="scroll"><table style="width:auto"><thead><tr><th></th><th class="num">{escape(names[0])}</th>'
        f'<th class="num">{escape(names[1])}</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _small_print(data: Comparison) -> Iterator[str]:
    yield "<h2>Small print</h2>"
    trials = "Where a start was played several times its mean counts. " if data.trials else ""
    yield (
        f'<p class="note">A start is a task and a seed. {trials}p is the probability of a difference at least as large if both '
        "were equally good. “Other tasks” takes whole tasks as what is drawn: what other tasks of this kind would give.</p>"
    )
    yield "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts(data)) + "</dl>"
