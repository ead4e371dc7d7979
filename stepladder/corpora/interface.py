"""The language of interfaces: labels and what they do, dialogs, instructions with their steps, forms, menus and help pages.

All of it is consistent in itself: what a question asks stands above it, and a step names what the instruction names.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from stepladder.config import ConfigError
from stepladder.corpora.document import Document
from stepladder.corpora.numbered import article, item, random_of
from stepladder.words import NAMES, PLAIN_WORDS, UI_WORDS, held_out, letters, vocabulary

#: What a press of a button does.
MEANINGS = {
    "Save": "keeps the changes",
    "Cancel": "closes the dialog and changes nothing",
    "Delete": "removes the selected item",
    "Open": "shows the selected item",
    "Close": "closes the window",
    "Copy": "puts the selection on the clipboard",
    "Paste": "inserts what is on the clipboard",
    "Cut": "moves the selection to the clipboard",
    "Undo": "takes back the last change",
    "Redo": "does again what was taken back",
    "Print": "sends the document to the printer",
    "Search": "looks for the words in the field",
    "Login": "opens your account",
    "Logout": "leaves your account",
    "Send": "sends the message",
    "Reply": "writes an answer to the sender",
    "Forward": "sends the message on to somebody else",
    "Download": "fetches the file to this computer",
    "Upload": "puts a file from this computer on the server",
    "Refresh": "loads the page again",
    "Back": "goes to the page before",
    "Next": "goes to the following page",
    "Submit": "sends the form",
    "Reset": "empties the form",
    "Retry": "tries the same thing again",
    "Ignore": "goes on in spite of the warning",
    "Accept": "agrees to the terms",
    "Decline": "refuses the terms",
    "Rename": "gives the item another name",
    "Move": "puts the item into another folder",
    "Duplicate": "makes a second item like this one",
    "Minimize": "hides the window in the taskbar",
    "Maximize": "lets the window fill the screen",
    "Select": "marks the item",
    "Filter": "shows only the items that match",
    "Sort": "puts the items in order",
    "Expand": "shows what is inside",
    "Collapse": "hides what is inside",
    "Enable": "turns the option on",
    "Disable": "turns the option off",
    "Subscribe": "asks for news by mail",
    "Unsubscribe": "ends the news by mail",
    "Checkout": "pays for what is in the cart",
    "Restore": "brings back what was deleted",
    "Archive": "puts the item away without deleting it",
    "Lock": "keeps others from changing it",
    "Unlock": "lets others change it",
    "Install": "puts the program on this computer",
}
#: (what is about to happen, what confirms it, what keeps everything as it is)
_DIALOGS = (
    ("Delete the {thing} “{name}”? It cannot be brought back.", "Delete", "Cancel", "delete the {thing}", "keep the {thing}"),
    ("The {thing} “{name}” has changed. Save the changes?", "Save", "Ignore", "keep the changes", "leave without saving"),
    ("The {thing} “{name}” is there already. Replace it?", "Replace", "Cancel", "replace the {thing}", "keep the old {thing}"),
    ("“{name}” did not answer. Try again?", "Retry", "Cancel", "try again", "give up"),
    ("Install the {thing} “{name}” now?", "Install", "Skip", "install it now", "go on without it"),
    ("Send the {thing} to {name}?", "Send", "Cancel", "send it to {name}", "not send it"),
    ("{name} wants to join the {thing}. Allow this?", "Allow", "Deny", "let {name} in", "refuse"),
)
_THINGS = ("file", "folder", "message", "photo", "note", "account", "event", "album", "report", "project", "page", "ticket")


def interface_text(seed: int, number: int, *, sections: int = 2) -> Document:
    """Document `number`: so many `sections` of different kinds. Raises ConfigError when there is to be none."""
    if sections < 1:
        raise ConfigError(f"sections is {sections}; it must be 1 or more")
    random = random_of("interface", seed, number)
    texts = [item(lambda: random.choice(_SECTIONS)(random), number) for _ in range(sections)]
    return Document("\n\n".join(texts) + "\n", source="interface")


def label(random: Random) -> str:
    """A word as it stands on a button or a link."""
    return random.choice(vocabulary("train", UI_WORDS))


def _text(random: Random) -> str:
    """What somebody types: a name, a word, a random string."""
    share = random.random()
    if share < 0.4:
        return random.choice(vocabulary("train", NAMES))
    return random.choice(vocabulary("train", PLAIN_WORDS)) if share < 0.7 else letters(random, "train")


def _labels(random: Random) -> str:
    words = [word for word in MEANINGS if not held_out(word)]
    chosen = random.sample(words, random.randint(2, 4))
    lines = [f'"{word}" {MEANINGS[word]}.' for word in chosen]
    asked = random.choice(chosen)
    question = f"Which button {MEANINGS[asked]}? {asked}"
    return "\n".join(("The buttons of this page:", *lines, question))


def _dialog(random: Random) -> str:
    known = [dialog for dialog in _DIALOGS if not (held_out(dialog[1]) or held_out(dialog[2]))]
    message, yes, no, wanted, unwanted = random.choice(known)
    thing, name = random.choice(_THINGS), _text(random)
    goal, answer = random.choice(((wanted, yes), (unwanted, no)))
    buttons = [yes, no] if random.random() < 0.5 else [no, yes]
    return (
        f"Dialog: {message.format(thing=thing, name=name)}\n"
        f"Buttons: {', '.join(buttons)}\n"
        f'To {goal.format(thing=thing, name=name)}, click "{answer}".'
    )


def _instruction(random: Random) -> str:
    """An instruction as tasks give it, and the steps that fulfil it, each as an agent says it."""
    kind, text, button = random.randrange(6), _text(random), label(random)
    if kind == 0:
        asked, steps = f'Click on the "{button}" button.', [f'Click the "{button}" button']
    elif kind == 1:
        asked = f'Enter "{text}" into the text field and press {button}.'
        steps = ["Click the text field", f'Type "{text}"', f'Click the "{button}" button']
    elif kind == 2:
        password = letters(random, "train")
        asked = f'Enter the username "{text}" and the password "{password}" into the text fields and press {button}.'
        steps = ["Click the username field", f'Type "{text}"', "Click the password field", f'Type "{password}"']
        steps.append(f'Click the "{button}" button')
    elif kind == 3:
        marks = list(dict.fromkeys(_text(random) for _ in range(random.randint(1, 3))))
        asked = f"Select {', '.join(marks)} and click {button}."
        steps = [*(f'Check the box "{mark}"' for mark in marks), f'Click the "{button}" button']
    elif kind == 4:
        asked = f"Select {text} from the list and click {button}."
        steps = ["Open the list", f'Choose "{text}"', f'Click the "{button}" button']
    else:
        tab = label(random)
        asked = f'Open the tab "{tab}" and click on the link "{text}".'
        steps = [f'Click the tab "{tab}"', f'Click the link "{text}"']
    lines = [f"Step {place}. Action: {step}" for place, step in enumerate(steps, start=1)]
    return "\n".join((f"Task: {asked}", *lines, "Done."))


def _form(random: Random) -> str:
    """A form in a few lines, and questions about its state."""
    lines, questions = [], []
    for name in random.sample(vocabulary("train", UI_WORDS), random.randint(2, 5)):
        kind = random.randrange(4)
        if kind == 0:
            value = _text(random) if random.random() < 0.7 else ""
            lines.append(f'text field "{name}": {value}'.rstrip())
            questions.append(f'What is in the field "{name}"? {value or "nothing"}')
        elif kind == 1:
            checked = random.random() < 0.5
            lines.append(f'checkbox "{name}": {"checked" if checked else "not checked"}')
            questions.append(f'Is the checkbox "{name}" checked? {"yes" if checked else "no"}')
        elif kind == 2:
            value = _text(random)
            lines.append(f'menu "{name}": {value}')
            questions.append(f'What is selected in the menu "{name}"? {value}')
        else:
            disabled = random.random() < 0.5
            lines.append(f'button "{name}"{": disabled" if disabled else ""}')
            questions.append(f'Is the button "{name}" enabled? {"no" if disabled else "yes"}')
    asked = random.sample(questions, min(2, len(questions)))
    return "\n".join(("Form:", *lines, *asked))


def _menus(random: Random) -> str:
    """A menu bar, and a help page that says where something is."""
    words = random.sample(vocabulary("train", UI_WORDS), 9)
    menus = {words[0]: words[1:4], words[4]: words[5:7], words[7]: words[8:]}
    menu = random.choice(list(menus))
    entry, thing = random.choice(menus[menu]), random.choice(_THINGS)
    return "\n".join(
        (
            *(f"{name}: {', '.join(entries)}" for name, entries in menus.items()),
            f"Help: {entry} for {article(thing)}",
            f'1. Select the {thing}. 2. Open the menu "{menu}". 3. Choose "{entry}".',
            f"Where is {entry}? {menu} > {entry}",
        )
    )


def _table(random: Random) -> str:
    """A list of results with numbers, as shops and mail programs show them, and a question about it."""
    names = random.sample([word for word in PLAIN_WORDS if not held_out(word)], random.randint(2, 4))
    prices = random.sample(range(1, 100), len(names))
    lines = [f"{name} | {price}" for name, price in zip(names, prices, strict=True)]
    if random.random() < 0.5:
        place = random.randrange(len(names))
        question = f"How much is {names[place]}? {prices[place]}"
    else:
        question = f"Which is cheapest? {names[prices.index(min(prices))]}"
    return "\n".join(("Item | Price", *lines, question))


_SECTIONS: tuple[Callable[[Random], str], ...] = (_labels, _dialog, _instruction, _instruction, _form, _menus, _table)
