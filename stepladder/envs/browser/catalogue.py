"""The MiniWoB++ tasks of the PyPI wheel `miniwob`: category, tags, step limit, named sets and seeds.

The names are those of the wheel's HTML files; the table below only describes them. Tags:

multi_step   more than one action is needed
reading      success needs words or digits on the page (not only the instruction) to be read
typing       text must be typed
copying      the text to type stands in the instruction
drag         the mouse must be dragged
scroll       the wheel is needed
select       a list box must be used
icons        icons or pictures must be recognised
counting     things must be counted
geometry     a place must be found that nothing marks
time         the page changes by itself while the agent acts
search       what is wanted is hidden at first and must be looked for
free_text    the instruction is worded freely
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stepladder.envs.browser.oracles import ORACLES
from stepladder.types import Task

CATEGORIES = ("click", "type", "form", "read", "math", "drag", "draw", "menu", "email", "web", "visual", "real-time", "game")

_TABLE = """
ascending-numbers              game       10  multi_step reading
bisect-angle                   draw       10  multi_step geometry
book-flight                    web        24  multi_step reading typing copying search
book-flight-nodelay            web        24  multi_step reading typing copying search
button-delay                   real-time  10  multi_step reading time
buy-ticket                     web        10  reading
chase-circle                   real-time  40  multi_step time
choose-date                    form       20  multi_step reading
choose-date-easy               form       10  multi_step reading
choose-date-medium             form       10  multi_step reading
choose-date-nodelay            form       20  multi_step reading
choose-list                    form       10  multi_step reading select
circle-center                  draw       10  multi_step geometry
click-button                   click      10  reading
click-button-sequence          click      10  multi_step reading
click-checkboxes               form       16  multi_step reading
click-checkboxes-large         form       30  multi_step reading scroll
click-checkboxes-soft          form       16  multi_step reading
click-checkboxes-transfer      form       16  multi_step reading
click-collapsible              click      10  multi_step
click-collapsible-2            click      12  multi_step reading search
click-collapsible-2-nodelay    click      12  multi_step reading search
click-collapsible-nodelay      click      10  multi_step
click-color                    visual     10
click-dialog                   click      10
click-dialog-2                 click      10  reading
click-link                     click      10  reading
click-menu                     menu       10  multi_step reading
click-menu-2                   menu       10  multi_step reading icons search
click-option                   form       10  multi_step reading
click-pie                      menu       10  multi_step reading
click-pie-nodelay              menu       10  multi_step reading
click-scroll-list              form       12  multi_step reading scroll select
click-shades                   visual     20  multi_step
click-shape                    visual     10  reading
click-tab                      click      10  reading
click-tab-2                    click      10  multi_step reading search
click-tab-2-easy               click      10  reading
click-tab-2-hard               click      14  multi_step reading search
click-tab-2-medium             click      10  reading
click-test                     click      10
click-test-2                   click      10  reading
click-test-transfer            click      10  reading
click-widget                   click      10
copy-paste                     type       12  multi_step
copy-paste-2                   type       12  multi_step
count-shape                    visual     10  reading counting
count-sides                    visual     10  reading counting
daily-calendar                 web        16  multi_step reading typing copying
drag-box                       drag       10  multi_step drag
drag-circle                    drag       10  multi_step drag
drag-cube                      drag       16  multi_step reading drag
drag-items                     drag       10  reading drag
drag-items-grid                drag       20  reading drag
drag-shapes                    drag       24  multi_step drag
drag-shapes-2                  drag       24  multi_step drag
drag-single-shape              drag       10  drag
drag-sort-numbers              drag       20  multi_step reading drag
draw-circle                    draw       24  multi_step drag geometry
draw-line                      draw       10  multi_step drag geometry
email-inbox                    email      12  multi_step reading typing copying scroll icons
email-inbox-delete             email      10  reading icons
email-inbox-forward            email      10  multi_step reading typing copying
email-inbox-forward-nl         email      10  multi_step reading typing copying free_text
email-inbox-forward-nl-turk    email      10  multi_step reading typing copying free_text
email-inbox-important          email      10  reading icons
email-inbox-nl-turk            email      12  multi_step reading typing copying scroll icons free_text
email-inbox-noscroll           email      10  multi_step reading typing copying icons
email-inbox-reply              email      10  multi_step reading typing copying
email-inbox-star-reply         email      10  multi_step reading typing copying icons
enter-date                     type       10  multi_step typing copying
enter-password                 type       10  multi_step typing copying
enter-text                     type       10  multi_step typing copying
enter-text-2                   type       10  multi_step typing copying
enter-text-dynamic             type       10  multi_step typing copying
enter-time                     type       10  multi_step typing copying
find-greatest                  game       10  multi_step reading
find-midpoint                  draw       10  multi_step geometry
find-word                      read       10  multi_step reading typing counting
focus-text                     click      10
focus-text-2                   click      10
form-sequence                  form       14  multi_step drag
form-sequence-2                form       10  multi_step typing copying
form-sequence-3                form       10  multi_step reading select
generate-number                game       20  multi_step reading
grid-coordinate                visual     10  reading
guess-number                   game       40  multi_step reading typing
highlight-text                 drag       10  multi_step drag
highlight-text-2               drag       10  multi_step drag
hot-cold                       game       20  multi_step reading search
hover-shape                    real-time  40  multi_step time
identify-shape                 visual     10  reading
login-user                     type       10  multi_step reading typing copying
login-user-popup               type       14  multi_step reading typing copying
moving-items                   real-time  40  multi_step time
multi-layouts                  form       14  multi_step reading typing copying
multi-orderings                form       14  multi_step reading typing copying
navigate-tree                  web        20  multi_step reading search
number-checkboxes              visual     40  multi_step
odd-or-even                    math       10  multi_step reading
order-food                     web        30  multi_step reading
phone-book                     web        12  multi_step reading search
read-table                     read       10  multi_step reading typing
read-table-2                   read       10  multi_step reading typing
resize-textarea                drag       10  multi_step reading drag
right-angle                    draw       10  multi_step geometry
scroll-text                    read       12  multi_step reading typing scroll
scroll-text-2                  read       10  multi_step scroll
search-engine                  web        12  multi_step reading typing copying search
sign-agreement                 form       20  multi_step reading typing copying scroll
simon-says                     real-time  40  multi_step time
simple-algebra                 math       10  multi_step reading typing
simple-arithmetic              math       10  multi_step reading typing
social-media                   web        10  multi_step reading icons scroll
social-media-all               web        40  multi_step reading icons scroll
social-media-some              web        40  multi_step reading icons scroll
stock-market                   real-time 100  multi_step reading time
terminal                       web        12  multi_step reading typing
text-editor                    web        12  multi_step reading icons drag
text-transform                 read       10  multi_step reading typing
tic-tac-toe                    game       10  multi_step icons
unicode-test                   click      10  reading
use-autocomplete               form       10  multi_step reading typing copying
use-autocomplete-nodelay       form       10  multi_step reading typing copying
use-colorwheel                 visual     10  multi_step
use-colorwheel-2               visual     10  multi_step
use-slider                     form       12  multi_step reading drag
use-slider-2                   form       24  multi_step reading drag
use-spinner                    form       16  multi_step
visual-addition                math       10  multi_step typing counting
"""

#: Small enough for a model trained in minutes: short texts, few steps, one font.
_DEMO = """
click-test click-button click-dialog click-dialog-2 click-widget focus-text focus-text-2 click-tab click-color
grid-coordinate click-collapsible-nodelay enter-text enter-text-dynamic enter-password login-user form-sequence-2
form-sequence-3 enter-date enter-time copy-paste choose-list scroll-text-2 circle-center highlight-text
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One task of the wheel. `max_steps` is 10, as in BrowserGym, or more where a solution may need more."""

    name: str
    category: str
    max_steps: int
    tags: tuple[str, ...]


def html_directory() -> Path:
    """Where the wheel `miniwob` keeps its task pages, without symbolic links: a page may read files of its own directory alone.

    Raises ModuleNotFoundError that says what to install."""
    spec = importlib.util.find_spec("miniwob")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the tasks of MiniWoB++ are not installed: pip install 'stepladder[browser]' (or miniwob>=1.1,<2)"
        )
    return Path(spec.origin).resolve().parent / "html"


@functools.cache
def entries() -> dict[str, Entry]:
    """Every HTML task of the installed wheel by name, sorted. A page that the table does not know has category "other"."""
    known = {}
    for line in _TABLE.strip().splitlines():
        name, category, max_steps, *tags = line.split()
        known[name] = Entry(name, category, int(max_steps), tuple(tags))
    names = sorted(path.stem for path in (html_directory() / "miniwob").glob("*.html"))
    return {name: known.get(name, Entry(name, "other", 20, ())) for name in names}


def entry(name: str) -> Entry:
    """Raises ValueError that names the nearest task when there is none of this name."""
    if name not in entries():
        near = difflib.get_close_matches(name, entries(), n=1)
        raise ValueError(f"MiniWoB++ has no task {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return entries()[name]


def named_sets() -> dict[str, tuple[str, ...]]:
    """Sets of task names: "all", "demo", "oracle" (tasks that have a demonstrator), one for each category and each tag."""
    sets: dict[str, list[str]] = {"all": list(entries()), "demo": _DEMO.split(), "oracle": sorted(ORACLES)}
    for one in entries().values():
        for key in (one.category, *one.tags):
            sets.setdefault(key, []).append(one.name)
    return {key: tuple(dict.fromkeys(names)) for key, names in sets.items()}


def named_set(name: str) -> tuple[str, ...]:
    """Raises ValueError that names the nearest set when there is none of this name."""
    sets = named_sets()
    if name not in sets:
        near = difflib.get_close_matches(name, sets, n=1)
        raise ValueError(f"MiniWoB++ has no task set {name!r}; " + (f"did you mean {near[0]!r}?" if near else ", ".join(sets)))
    return sets[name]


def task(name: str, split: str = "all") -> Task:
    """The task as `MiniWobEnvironment.reset` takes it; the instruction depends on the seed and is filled in there."""
    found = entry(name)
    return Task(found.name, "", "miniwob", max_steps=found.max_steps, split=split, tags=(found.category, *found.tags))


def tasks(names: Iterable[str] | None = None, split: str = "all") -> list[Task]:
    """All tasks, or those named. Raises ValueError for an unknown name."""
    return [task(name, split) for name in (entries() if names is None else names)]
