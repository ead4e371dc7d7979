"""Demonstrators for tasks done with a few clicks: buttons, links, dialogs, boxes, tabs, sections."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.reading import match, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote


async def click_test(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    yield await screen.click("all('#area button')[0]", "There is one button to click.", 'Click the "Click Me!" button.')


async def click_named_button(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    button = f"named('#area button', {quote(name)})"
    async for turn in screen.reach(
        button, f'The button labelled "{name}" is asked for.', f'Click the "{name}" button.', f'"{name}" button'
    ):
        yield turn


async def click_button_one(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = match(r"button (\w+)\.", instruction)[1]
    yield await screen.click(
        f"named('button', {quote(name)})", f'The button labelled "{name}" is asked for.', f'Click the "{name}" button.'
    )


async def click_button_sequence(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    for name, why in (
        ("ONE", "The first of the two buttons comes first."),
        ("TWO", "The first button is done, now the second."),
    ):
        yield await screen.click(f"named('button', {quote(name)})", why, f'Click the "{name}" button.')


async def click_link(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    async for turn in screen.reach(
        f"named('#area .alink', {quote(name)})",
        f'The link with the text "{name}" is asked for.',
        f'Click the link "{name}".',
        "link",
    ):
        yield turn


async def click_dialog(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    yield await screen.click(
        "all('.ui-dialog-titlebar-close')[0]", "The x in the corner closes the dialog box.", 'Click the "x" of the dialog box.'
    )


async def click_dialog_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    if name == "x":
        yield await screen.click(
            "all('.ui-dialog-titlebar-close')[0]",
            "The button to click is the x in the corner.",
            'Click the "x" of the dialog box.',
        )
    else:
        yield await screen.click(
            f"named('.ui-dialog-buttonset button', {quote(name)})",
            f'The button labelled "{name}" is in the dialog box.',
            f'Click the "{name}" button.',
        )


WIDGETS = {
    "button": ("#area button", "button"),
    "textarea": ("#area textarea", "text area"),
    "text": ("#area input[data-type=text]", "text field"),
    "radio": ("#area input[type=radio]", "radio button"),
    "checkbox": ("#area input[type=checkbox]", "checkbox"),
}


async def click_widget(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    selector, name = WIDGETS[quoted(instruction)[0]]
    async for turn in screen.reach(f"all({quote(selector)})[0]", f"Any {name} will do.", f"Click the {name}.", name):
        yield turn


async def click_option(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = match(r"Select (.*) and click", instruction)[1]
    option = f"named('#area label', {quote(name)}).querySelector('input')"
    if not await screen.evaluate(f"{option}.checked"):
        yield await screen.click(option, f'The option "{name}" must be chosen.', f'Click the option "{name}".')
    async for turn in screen.submit():
        yield turn


LABELS = "all('#area label').map((e) => [text(e), e.querySelector('input').checked])"


async def tick_boxes(screen: Screen, wanted: set[str]) -> AsyncIterator[Turn]:
    """Make the ticked checkboxes exactly those with a wanted label, one click each, then submit."""
    for index, (name, checked) in enumerate(await screen.evaluate(LABELS)):
        if checked != (name in wanted):
            why = f'"{name}" is one of the words asked for.' if not checked else f'"{name}" is ticked, but nobody asked for it.'
            what = f'{"Tick" if not checked else "Untick"} the checkbox "{name}".'
            async for turn in screen.reach(f"all('#area label')[{index}].querySelector('input')", why, what, f'checkbox "{name}"'):
                yield turn
    async for turn in screen.submit("The right boxes are ticked."):
        yield turn


async def click_checkboxes(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    words = match(r"Select (.*) and click", instruction)[1]
    async for turn in tick_boxes(screen, set() if words == "nothing" else set(words.split(", "))):
        yield turn


async def click_tab(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = match(r"Tab #\d+", instruction)[0]
    yield await screen.click(f"named('#area ul a', {quote(name)})", f"{name} is asked for.", f'Click the tab "{name}".')


async def click_tab_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    link = f"named('#area .alink', {quote(name)})"
    tabs = await screen.evaluate("all('#area ul a').map((e) => [text(e), e.parentElement.classList.contains('ui-tabs-active')])")
    seen = [tab for tab, active in tabs if active]
    while not await screen.evaluate(f"!!{link}"):
        unseen = [tab for tab, _ in tabs if tab not in seen]
        if not unseen:
            raise OracleError(f"no tab has the link {name!r}")
        seen.append(unseen[0])
        yield await screen.click(
            f"named('#area ul a', {quote(unseen[0])})",
            f'The link "{name}" is not on this tab.',
            f'Click the tab "{unseen[0]}".',
        )
    async for turn in screen.reach(link, f'The link "{name}" is on this tab.', f'Click the link "{name}".', "link"):
        yield turn


async def click_collapsible(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    if not await screen.evaluate("visible(document.querySelector('.ui-accordion-content'))"):
        name = await screen.evaluate("text(document.querySelector('#area h3'))")
        yield await screen.click("all('#area h3')[0]", "The section is still closed.", f'Click the section "{name}".')
    async for turn in screen.submit("The section is open."):
        yield turn


async def click_collapsible_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    link = f"named('#area .alink', {quote(name)})"
    sections = await screen.evaluate("all('#area h3').map((e) => [text(e), e.classList.contains('ui-accordion-header-active')])")
    seen = [section for section, open_ in sections if open_]
    while not await screen.evaluate(f"!!{link}"):
        unseen = [section for section, _ in sections if section not in seen]
        if not unseen:
            raise OracleError(f"no section has the link {name!r}")
        seen.append(unseen[0])
        header = f"named('#area h3', {quote(unseen[0])})"
        async for turn in screen.reach(
            header, f'The link "{name}" has not shown up yet.', f'Click the section "{unseen[0]}".', f'section "{unseen[0]}"'
        ):
            yield turn
    async for turn in screen.reach(link, f'The link "{name}" is in this section.', f'Click the link "{name}".', "link"):
        yield turn


async def click_color(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = match(r"Click on the (\w+) colored box", instruction)[1]
    yield await screen.click(
        f"all('#area .color').find((e) => e.dataset.color === {quote(name)})",
        f"One of the boxes is {name}.",
        f"Click the {name} box.",
    )


async def grid_coordinate(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    place = match(r"\(-?\d,-?\d\)", instruction)[0]
    yield await screen.click(
        f"document.getElementById({quote(place)})", f"The point {place} is asked for.", f"Click the point {place}."
    )


async def focus_text(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    yield await screen.click("all('#area input')[0]", "Clicking the text field focuses it.", "Click the text field.")


async def focus_text_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    place = match(r"(\d)(?:st|nd|rd)", instruction)
    yield await screen.click(
        f"all('#area input')[{int(place[1]) - 1}]",
        f"The {place[0]} text field from the top is asked for.",
        f"Click the {place[0]} text field.",
    )


async def navigate_tree(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    name = quoted(instruction)[0]
    node = f"named('#area a, #area span', {quote(name)})"
    for _ in range(40):
        if await screen.evaluate(f"!!{node}"):
            break
        folder = await screen.evaluate(
            "((e) => e ? text(e.parentElement.querySelector('span')) : null)(all('.expandable-hitarea')[0])"
        )
        if folder is None:
            raise OracleError(f"no folder contains {name!r}")
        async for turn in screen.reach(
            "all('.expandable-hitarea')[0].parentElement.querySelector('span')",
            f'"{name}" is not shown yet; it may be in "{folder}".',
            f'Open the folder "{folder}".',
            "folder",
        ):
            yield turn
    async for turn in screen.reach(node, f'"{name}" is in the tree.', f'Click "{name}".', "entry"):
        yield turn


def number(pattern: str, instruction: str) -> int:
    return int(re.sub(r"[^\d-]", "", match(pattern, instruction)[1]))


ORACLES: dict[str, Oracle] = {
    "click-test": click_test,
    "click-test-2": click_button_one,
    "click-test-transfer": click_button_one,
    "click-button": click_named_button,
    "unicode-test": click_named_button,
    "click-button-sequence": click_button_sequence,
    "click-link": click_link,
    "click-dialog": click_dialog,
    "click-dialog-2": click_dialog_2,
    "click-widget": click_widget,
    "click-option": click_option,
    "click-checkboxes": click_checkboxes,
    "click-checkboxes-transfer": click_checkboxes,
    "click-checkboxes-large": click_checkboxes,
    "click-tab": click_tab,
    "click-tab-2": click_tab_2,
    "click-tab-2-easy": click_tab_2,
    "click-tab-2-medium": click_tab_2,
    "click-tab-2-hard": click_tab_2,
    "click-collapsible": click_collapsible,
    "click-collapsible-nodelay": click_collapsible,
    "click-collapsible-2": click_collapsible_2,
    "click-collapsible-2-nodelay": click_collapsible_2,
    "click-color": click_color,
    "grid-coordinate": grid_coordinate,
    "focus-text": focus_text,
    "focus-text-2": focus_text_2,
    "navigate-tree": navigate_tree,
}
