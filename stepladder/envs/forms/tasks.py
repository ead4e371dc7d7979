"""The task kinds: from a seed to a form, an instruction and a goal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from stepladder.drawing import text_width
from stepladder.envs.forms.editing import TextField
from stepladder.envs.forms.goals import Goal, Want
from stepladder.envs.forms.layout import (
    MARGIN,
    THEMES,
    DoesNotFit,
    Row,
    align_columns,
    columns,
    measure,
    place_dialog,
    random_font,
    stack,
)
from stepladder.envs.forms.questions import (
    Form,
    Maker,
    Question,
    ask_check_box,
    ask_field,
    ask_list,
    ask_menu,
    ask_radio,
    ask_slider,
    sentence,
)
from stepladder.envs.forms.screen import Screen
from stepladder.envs.forms.widgets import (
    Button,
    CheckBox,
    Dialog,
    Link,
    Tabs,
    Widget,
)
from stepladder.words import PLAIN_WORDS, UI_WORDS, WordPart, letters

ATTEMPTS = 200


def answer(make: Maker, questions: Sequence[Question], order: bool = True) -> Form:
    """A form that asks all questions, with a submit button at its end."""
    button = make.submit()
    rows = [row for question in questions for row in question.rows]
    phrases = [question.phrase for question in questions]
    if not order:
        make.random.shuffle(phrases)
    return make.form([*rows, [button]], sentence(phrases, button.label), [q.want for q in questions], [button])


def click_button(make: Maker) -> Form:
    buttons = [make.button(make.label()) for _ in range(make.random.randint(2, 5))]
    rows: list[Row] = []
    for button in buttons:
        beside = rows and len(rows[-1]) == 1 and make.random.random() < 0.4
        if beside and sum(measure(b, 999)[0] for b in (*rows[-1], button)) + 8 < make.area()[2]:
            rows[-1].append(button)
        else:
            rows.append([button])
    target = make.random.choice(buttons)
    phrase = make.one_of(
        f'Click the "{target.label}" button.', f'Press "{target.label}".', f'Click on the "{target.label}" button.'
    )
    return make.form(rows, phrase, (), [target])


def button_sequence(make: Maker) -> Form:
    buttons = [make.button(make.label()) for _ in range(make.random.randint(2, 4))]
    first, second = make.random.sample(buttons, 2)
    phrase = make.one_of(
        f'Click "{first.label}", then click "{second.label}".', f'Press "{first.label}" and after it "{second.label}".'
    )
    return make.form([[button] for button in buttons], phrase, (), [first, second])


def click_text(make: Maker) -> Form:
    plain = make.random.random() < 0.5
    links = [
        Link(make.name("link"), make.word(), font=make.font, final=True, plain=plain) for _ in range(make.random.randint(4, 9))
    ]
    rows: list[Row] = [[]]
    for link in links:
        used = sum(text_width(other.font, other.label) + 6 for other in rows[-1])
        if rows[-1] and (used + text_width(link.font, link.label) > make.area()[2] or make.random.random() < 0.3):
            rows.append([])
        rows[-1].append(link)
    target = make.random.choice(links)
    noun = "word" if plain else "link"
    return make.form(rows, make.one_of(f'Click on the {noun} "{target.label}".', f'Click "{target.label}".'), (), [target])


def fill_field(make: Maker) -> Form:
    questions = [ask_field(make) for _ in range(make.random.randint(1, 3))]
    asked = make.random.choice(questions)
    form = answer(make, questions)
    button = form.screen.find(form.goal.presses[0])
    form.instruction = sentence([asked.phrase], button.label)
    wants = [q.want if q is asked else Want(q.want.widget, "") for q in questions]
    return Form(form.screen, form.theme, form.instruction, Goal(tuple(wants), form.goal.presses))


def login(make: Maker) -> Form:
    user_label = make.one_of("User", "Username", "Email", "Name", "Login")
    user, secret = ask_field(make, user_label), ask_field(make, "Password", password=True)
    button = make.submit(make.one_of("Log in", "Sign in", "Continue", "OK"))
    button.requires = (user.want.widget, secret.want.widget) if make.random.random() < 0.5 else ()
    phrase = make.one_of(
        f'Log in as "{user.want.value}" with the password "{secret.want.value}" and press "{button.label}".',
        f'Enter the {user_label.lower()} "{user.want.value}" and the password "{secret.want.value}", then press "{button.label}".',
    )
    rows: list[Row] = [[make.text(make.word())]] if make.random.random() < 0.5 else []
    pairs = [row for question in (user, secret) for row in question.rows]
    return make.form([*rows, *pairs, [button]], phrase, [user.want, secret.want], [button])


def check_boxes(make: Maker) -> Form:
    boxes = [CheckBox(make.name("check"), make.label(), font=make.font) for _ in range(make.random.randint(3, 6))]
    asked = make.random.sample(boxes, make.random.randint(1, min(3, len(boxes))))
    for box in boxes:
        box.checked = make.random.random() < 0.15
    button = make.submit()
    names = ", ".join(f'"{box.label}"' for box in asked)
    phrase = make.one_of(f'Check exactly {names} and press "{button.label}".', f'Select only {names} and press "{button.label}".')
    wants = [Want(box.id, "on" if box in asked else "off") for box in boxes]
    rows: list[Row] = [[box] for box in boxes]
    return make.form([*rows, [button]], phrase, wants, [button])


def choose_radio(make: Maker) -> Form:
    return answer(make, [ask_radio(make, make.random.randint(3, 5))])


def choose_menu(make: Maker) -> Form:
    return answer(make, [ask_menu(make, make.random.randint(3, 7))])


def pick_list_item(make: Maker) -> Form:
    return answer(make, [ask_list(make, make.random.randint(6, 14), make.random.randint(4, 6))])


def slider(make: Maker) -> Form:
    return answer(make, [ask_slider(make)])


def fill_form(make: Maker) -> Form:
    makers: list[Callable[[Maker], Question]] = [ask_field, ask_check_box, ask_menu, ask_slider]
    asked = make.random.sample(makers, make.random.randint(2, 3))
    return answer(make, [ask(make) for ask in asked], order=False)


def copy_field(make: Maker) -> Form:
    label, shown, value = make.word(), make.word(), letters(make.random, make.words)
    entry = TextField(make.name("field"), label, font=make.font)
    button = make.submit()
    rows: list[Row] = [[make.text(f"{shown}: {value}")], *columns([[make.text(label, entry.id), entry]], make.area()[2]), [button]]
    phrase = make.one_of(
        f'Copy the text shown after "{shown}" into the "{label}" field and press "{button.label}".',
        f'Type what stands after "{shown}" into "{label}" and press "{button.label}".',
    )
    return make.form(rows, phrase, [Want(entry.id, value)], [button])


def _dialog(make: Maker, buttons: Sequence[Button], cross: Button | None) -> Dialog:
    message = " ".join(make.word(make.random.choice((UI_WORDS, PLAIN_WORDS))) for _ in range(make.random.randint(2, 6)))
    dialog = Dialog(make.name("dialog"), make.word())
    place_dialog(dialog, message, list(buttons), cross, make.font, (make.width, make.height), make.random)
    return dialog


def _cross(make: Maker, final: bool) -> Button:
    return Button(make.name("cross"), "Close", font=make.font, cross=True, final=final, command="close")


def dismiss_dialog(make: Maker) -> Form:
    below: list[Row] = [[make.button(make.label())] for _ in range(make.random.randint(1, 3))]
    labels = make.one_of("OK Cancel", "Yes No", "Accept Decline", "Close", "OK").split()
    make.used.update(label.lower() for label in labels)
    buttons = [make.button(label, command="close") for label in labels]
    cross = _cross(make, final=True) if make.random.random() < 0.6 else None
    dialog = _dialog(make, buttons, cross)
    target = make.random.choice([*buttons, *([cross] if cross is not None else [])])
    if target is cross:
        phrase = make.one_of("Close the dialog with the cross in its corner.", 'Close the dialog with the "x" at its top.')
    else:
        phrase = make.one_of(f'Close the dialog by pressing "{target.label}".', f'Click "{target.label}" in the dialog.')
    form = make.form(below, phrase, (), [target])
    form.screen.dialogs[dialog.id] = dialog
    form.screen.open_dialogs.append(dialog.id)
    return form


def dialog_then_submit(make: Maker) -> Form:
    question = make.random.choice((ask_field, ask_check_box, ask_menu))(make)
    if make.random.random() < 0.5:
        button = make.button(make.one_of("OK", "Close", "Got it"), final=False, command="close")
        make.used.add(button.label.lower())
        dialog = _dialog(make, [button], None)
        form = answer(make, [question])
        form.instruction = f"Close the dialog. Then {form.instruction[0].lower()}{form.instruction[1:]}"
        form.screen.open_dialogs.append(dialog.id)
    else:
        yes = make.button(make.one_of("Yes", "OK", "Confirm"), command="close", default=True)
        no = make.button(make.one_of("No", "Cancel"), final=False, command="close")
        make.used.update((yes.label.lower(), no.label.lower()))
        dialog = _dialog(make, [yes, no], None)
        opener = make.button(
            make.one_of("Send", "Delete", "Save", "Publish"), final=False, command=f"open:{dialog.id}", default=True
        )
        phrase = f'{sentence([question.phrase], opener.label)[:-1]}, then confirm with "{yes.label}".'
        form = make.form([*question.rows, [opener]], phrase, [question.want], [yes])
    form.screen.dialogs[dialog.id] = dialog
    return form


def tab_then_click(make: Maker) -> Form:
    tabs = Tabs(make.name("tabs"), "tabs", font=make.font, options=tuple(make.word() for _ in range(make.random.randint(2, 3))))
    width, height = measure(tabs, make.width)
    if width > make.area()[2]:
        raise DoesNotFit("the tabs are too wide")
    top = MARGIN + make.random.randint(0, 20)
    tabs.box = (MARGIN, top, width, height)
    panel = (MARGIN, top + height, make.width - 2 * MARGIN, make.height - top - height - MARGIN)
    widgets: list[Widget] = [tabs]
    tabs.selected = make.random.randrange(len(tabs.options))
    for option in tabs.options:
        rows: list[Row] = [[make.button(make.label())] for _ in range(make.random.randint(1, 3))]
        if make.random.random() < 0.5:
            rows.insert(0, [make.text(make.word(PLAIN_WORDS))])
        stack(rows, (panel[0] + 8, panel[1] + 8, panel[2] - 16, panel[3] - 16), make.random)
        for widget in (widget for row in rows for widget in row):
            widget.tab = option
            widgets.append(widget)
    goal_tab = make.random.choice([o for i, o in enumerate(tabs.options) if i != tabs.selected])
    target = make.random.choice([w for w in widgets if isinstance(w, Button) and w.tab == goal_tab])
    phrase = make.one_of(
        f'Open the "{goal_tab}" tab and click "{target.label}".',
        f'Switch to the tab "{goal_tab}" and press the "{target.label}" button.',
    )
    screen = Screen(make.width, make.height, make.label(), widgets)
    return Form(screen, make.theme, phrase, Goal((), (target.id,)), panel)


def wizard(make: Maker) -> Form:
    pages = make.random.randint(2, 3)
    asks: list[Callable[[Maker], Question]] = [ask_field, ask_check_box, ask_menu, ask_radio]
    widgets: list[Widget] = []
    questions = []
    finish = make.button("Finish", default=True)
    make.used.update(("finish", "next", "back"))
    for page in range(pages):
        asked = [make.random.choice(asks)(make) for _ in range(make.random.randint(1, 2))]
        last = page == pages - 1
        forward = finish if last else make.button("Next", final=False, command="next", default=True)
        back = [make.button("Back", final=False, command="back")] if page else []
        if not last and isinstance(next(w for row in asked[0].rows for w in row if w.id == asked[0].want.widget), TextField):
            forward.requires = (asked[0].want.widget,)
        rows = [row for question in asked for row in question.rows]
        content: list[Row] = [[make.text(f"Step {page + 1} of {pages}")], *rows]
        bottom = make.area(make.height - MARGIN - 22)
        stack(content, make.area(bottom=MARGIN + 28), make.random)
        align_columns(content)
        stack([[*back, forward]], bottom)
        for widget in (*(w for row in content for w in row), *back, forward):
            widget.page = page
            widgets.append(widget)
        questions += asked
    screen = Screen(make.width, make.height, make.label(), widgets, pages=pages)
    phrase = sentence([q.phrase for q in questions], "Finish")
    return Form(screen, make.theme, phrase, Goal(tuple(q.want for q in questions), (finish.id,)))


#: name -> (builder, steps allowed)
KINDS: dict[str, tuple[Callable[[Maker], Form], int]] = {
    "click-button": (click_button, 3),
    "button-sequence": (button_sequence, 5),
    "click-text": (click_text, 3),
    "fill-field": (fill_field, 8),
    "login": (login, 10),
    "check-boxes": (check_boxes, 12),
    "choose-radio": (choose_radio, 5),
    "choose-menu": (choose_menu, 7),
    "pick-list-item": (pick_list_item, 8),
    "slider": (slider, 6),
    "dismiss-dialog": (dismiss_dialog, 4),
    "dialog-then-submit": (dialog_then_submit, 12),
    "tab-then-click": (tab_then_click, 5),
    "wizard": (wizard, 30),
    "copy-field": (copy_field, 8),
    "fill-form": (fill_form, 15),
}


def build(kind: str, seed: int, width: int, height: int, words: WordPart) -> Form:
    """The form of one seed; equal arguments give equal forms. Raises DoesNotFit when the screen is too small for the kind."""
    builder = KINDS[kind][0]
    for attempt in range(ATTEMPTS):
        random = Random(f"{kind}:{seed}:{attempt}")
        make = Maker(random, width, height, words, random.choice(THEMES), random_font(random))
        try:
            return builder(make)
        except DoesNotFit:
            continue
    raise DoesNotFit(f"{kind!r} does not fit on {width} x {height} pixels")
