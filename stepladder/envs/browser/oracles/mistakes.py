"""Harmless wrong steps: what a learner may do by mistake without losing the episode, and what demonstrators then put right."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from stepladder.envs.browser.oracles.screen import Screen, Turn, quote, say
from stepladder.types import Action

WIDTH, HEIGHT = 160, 210
WORDS = ("Anna", "hello", "x7k2", "Peter", "blue", "42", "Maria", "test")


@dataclass(frozen=True)
class Decoy:
    """Elements that can be clicked by mistake: a JavaScript list, and what a click on one is called."""

    elements: str
    what: str


FIELD = "input[type=text], input[type=password], input[type=number], input:not([type]), input[type=input], textarea"
DECOYS = {
    "field": Decoy(f"all('{FIELD}').filter((e) => !e.disabled && document.activeElement !== e)", "Click a text field."),
    "choice": Decoy(
        "all('#area input').filter((e) => /checkbox|radio/.test(e.type) && !e.disabled && !e.checked && !asked(e.parentElement))",
        "Click a box.",
    ),
    "tab": Decoy("all('#area ul a').filter((e) => !e.parentElement.classList.contains('ui-tabs-active'))", "Click another tab."),
    "section": Decoy("all('#area h3').filter((e) => !e.classList.contains('ui-accordion-header-active'))", "Click a section."),
    "email": Decoy("all('#main .email-sender').filter((e) => !asked(e))", "Click another email."),
    "shade": Decoy("all('#area span').filter((e) => e.className !== 'selected' && !asks(e.dataset.color))", "Click a box."),
    "food": Decoy(
        "all('.food-item .add').filter((e) => !asks(e.closest('.food-item').dataset.item.trim()))", "Order something else."
    ),
    "arrow": Decoy("all('.ui-spinner-button')", "Click an arrow."),
    "card": Decoy("all('.card')", "Click a card."),
    "parity": Decoy("all('#area .odd, #area .even')", "Mark a number."),
}

_TYPING = ("background", "typing")
_FIELDS = ("background", "field", "typing")
#: What can go wrong without harm, by task. "background" is a click where nothing is, "typing" typing into whatever is selected.
KINDS: dict[str, tuple[str, ...]] = {
    "click-button": ("background", "field"),
    "click-option": ("background", "choice"),
    "click-checkboxes": ("background", "choice"),
    "click-checkboxes-large": ("background", "choice"),
    "click-checkboxes-soft": ("background",),
    "click-checkboxes-transfer": ("background", "choice"),
    "click-tab-2": ("background", "tab"),
    "click-tab-2-hard": ("background", "tab"),
    "click-collapsible-2": ("background", "section"),
    "click-collapsible-2-nodelay": ("background", "section"),
    "click-shades": ("background", "shade"),
    "number-checkboxes": ("background", "choice"),
    "order-food": ("background", "food"),
    "use-spinner": ("background", "arrow"),
    "find-greatest": ("background", "card"),
    "odd-or-even": ("background", "parity"),
    "email-inbox": ("background", "email"),
    "email-inbox-noscroll": ("background", "email"),
    "email-inbox-delete": ("background", "email"),
    "email-inbox-important": ("background", "email"),
    "email-inbox-reply": ("background", "email"),
    "email-inbox-forward": ("background", "email"),
    "email-inbox-star-reply": ("background", "email"),
    "email-inbox-nl-turk": ("background", "email"),
    "email-inbox-forward-nl": ("background", "email"),
    "email-inbox-forward-nl-turk": ("background", "email"),
    "enter-text": _FIELDS,
    "enter-text-2": _FIELDS,
    "enter-text-dynamic": _FIELDS,
    "enter-password": _FIELDS,
    "login-user": _FIELDS,
    "find-word": _FIELDS,
    "read-table": _FIELDS,
    "read-table-2": _FIELDS,
    "text-transform": _FIELDS,
    "simple-arithmetic": _FIELDS,
    "simple-algebra": _FIELDS,
    "visual-addition": _FIELDS,
    "multi-layouts": _FIELDS,
    "multi-orderings": _FIELDS,
    "search-engine": _FIELDS,
    "form-sequence": ("background", "choice"),
    "form-sequence-2": ("background", "choice", "field", "typing"),
    "use-autocomplete": _TYPING,
    "use-autocomplete-nodelay": _TYPING,
}
#: Here even an idle click loses something: time or the only attempt.
NONE = frozenset({"chase-circle", "hot-cold", "hover-shape", "moving-items", "simon-says"})

#: Which of the given places show nothing that reacts, nearest to a widget first.
EMPTY = """((places) => {
  const ground = (e) => e && (['area', 'wrap', 'query'].includes(e.id) || e === document.body || e === document.documentElement
    || e.closest('#query'));
  const widgets = all('#area *').filter((e) => !e.children.length).map((e) => e.getBoundingClientRect());
  const near = ([x, y]) => Math.min(200, ...widgets.map((r) => Math.hypot(Math.max(r.left - x, 0, x - r.right),
    Math.max(r.top - y, 0, y - r.bottom))));
  return places.filter(([x, y]) => ground(document.elementFromPoint(x, y))).sort((p, q) => near(p) - near(q));
})"""


async def find_mistake(screen: Screen, task: str, random: Random) -> Turn | None:
    """(thought, action) of a wrong step that does no harm in the present state of `task`; None where there is none."""
    if task in NONE:
        return None
    kinds = list(KINDS.get(task, ("background",)))
    random.shuffle(kinds)
    if "typing" in kinds and await screen.evaluate(
        f"document.activeElement.matches({quote(FIELD)}) && !document.activeElement.value"
    ):
        kinds.insert(0, "typing")
    for kind in kinds:
        found = await _mistake_of(screen, kind, random)
        if found is not None:
            return found
    return None


async def _mistake_of(screen: Screen, kind: str, random: Random) -> Turn | None:
    if kind == "typing":
        word = random.choice(WORDS)
        return say("This text is not what was asked for.", f'Type "{word}".'), Action("type", text=word)
    if kind == "background":
        places = [[random.randrange(2, WIDTH - 2), random.randrange(2, HEIGHT - 2)] for _ in range(40)]
        empty = await screen.evaluate(f"{EMPTY}({places})")
        if not empty:
            return None
        x, y = empty[0] if random.random() < 0.5 else random.choice(empty)
        return say("Nothing is at this place.", "Click an empty place."), Action("click", x=x, y=y)
    decoy = DECOYS[kind]
    instruction = "text(document.getElementById('query'))"
    asks = f"const asks = (words) => words && {instruction}.includes(words), asked = (e) => asks(text(e));"
    elements = f"(() => {{ {asks} return {decoy.elements}; }})()"
    order = list(range(await screen.evaluate(f"{elements}.length")))
    random.shuffle(order)
    for index in order:
        place = await screen.center(f"{elements}[{index}]")
        if place is not None:
            return say("This is not what was asked for.", decoy.what), Action("click", x=place[0], y=place[1])
    return None
