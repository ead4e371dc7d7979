"""Demonstrators for tasks with form widgets: sliders, spinners, lists, dates, suggestions, agreements."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.clicking import tick_boxes
from stepladder.envs.browser.oracles.entering import scroll_to_end
from stepladder.envs.browser.oracles.reading import match, ordinal, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, press, quote, say, type_text
from stepladder.types import Action

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip


async def set_slider(screen: Screen, slider: str, value: int, name: str = "slider") -> AsyncIterator[Turn]:
    """Drag the handle close to the value, then correct with the arrow keys. `slider` is a selector."""
    get = f"$('{slider}').slider('value')"
    low, high, orientation = await screen.evaluate(
        f"[$('{slider}').slider('option', 'min'), $('{slider}').slider('option', 'max'), "
        f"$('{slider}').slider('option', 'orientation')]"
    )
    handle = f"document.querySelector('{slider} .ui-slider-handle')"
    if abs(await screen.evaluate(get) - value) > 1:
        left, top, width, height = await screen.box(f"document.querySelector('{slider}')")
        share = (value - low) / (high - low)
        x, y = await screen.at(handle)
        end = (
            (left + width * share, top + height / 2)
            if orientation == "horizontal"
            else (left + width / 2, top + height * (1 - share))
        )
        yield (
            say(f"The {name} must stand at {value}.", f"Drag the handle of the {name} to {value}."),
            Action("drag", x=x, y=y, x2=int(end[0]), y2=int(end[1])),
        )
    if await screen.evaluate(get) != value and not await screen.evaluate(f"document.activeElement === {handle}"):
        yield await screen.click(handle, "The arrow keys move a handle that is selected.", f"Click the handle of the {name}.")
    for _ in range(high - low):
        now = await screen.evaluate(get)
        if now == value:
            return
        yield press("right" if now < value else "left", why=f"The {name} stands at {now}, not at {value}.")
    raise OracleError(f"{name} does not reach {value}")


async def use_slider(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in set_slider(screen, "#slider", int(match(r"Select (-?\d+)", instruction)[1])):
        yield turn
    async for turn in screen.submit("The slider stands where it should."):
        yield turn


async def use_slider_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    values = [int(value) for value in re.findall(r"\d+", match(r"\[(.*)\]", instruction)[1])]
    for number, value in enumerate(values, 1):
        async for turn in set_slider(screen, f"#slider-{number}", value, f"{('first', 'second', 'third')[number - 1]} slider"):
            yield turn
    async for turn in screen.submit("The sliders stand where they should."):
        yield turn


async def form_sequence(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    async for turn in set_slider(screen, "#slider", int(match(r"Select (-?\d+)", instruction)[1])):
        yield turn
    wanted = ordinal(match(r"click the (.*) checkbox", instruction)[1])
    for number in (1, 2, 3):
        box = f"document.getElementById('checkbox-{number}')"
        if await screen.evaluate(f"{box}.checked") != (number == wanted):
            why = f"Checkbox {number} is asked for." if number == wanted else f"Checkbox {number} must stay empty."
            yield await screen.click(box, why, f"{'Tick' if number == wanted else 'Untick'} checkbox {number}.")
    async for turn in screen.submit():
        yield turn


async def form_sequence_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    radio, place = (int(value) for value in re.findall(r"(\d+)(?:st|nd|rd)", instruction))
    button = f"all('#area input[type=radio]')[{radio - 1}]"
    if not await screen.evaluate(f"{button}.checked"):
        yield await screen.click(button, f"Radio button {radio} is asked for.", f"Click radio button {radio}.")
    for number in (1, 2, 3):
        field = f"document.getElementById('input-{number}')"
        if number == place:
            async for turn in screen.fill(field, quoted(instruction)[0], f"text field {number}"):
                yield turn
        elif await screen.evaluate(f"{field}.value"):
            yield await screen.click(field, f"Text field {number} must be empty.", f"Click text field {number}.")
            yield press("ctrl", "a", why="All its text is wrong.", what="Select all text in the field.")
            yield press("delete", why="The wrong text is selected.")
    async for turn in screen.submit():
        yield turn


async def form_sequence_3(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    option = match(r"Choose (.*) from the dropdown", instruction)[1]
    name = quoted(instruction)[0]
    if await screen.evaluate("document.getElementById('dropdown').value") != option:
        item = f"named('.selectric-items li', {quote(option)})"
        if not await screen.evaluate(f"!!{item}"):
            yield await screen.click("all('.selectric')[0]", "The list is closed.", "Click the list.")
        async for turn in screen.reach(item, "The list is open.", f'Click "{option}".', f'entry "{option}"'):
            yield turn
    yield await screen.click(f"named('#buttons button', {quote(name)})", f'"{option}" is chosen.', f'Click the "{name}" button.')


async def use_spinner(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    wanted = int(match(r"Select (-?\d+)", instruction)[1])
    for _ in range(60):
        now = int(await screen.evaluate("document.getElementById('spinner').value"))
        if now == wanted:
            break
        arrow = "up" if now < wanted else "down"
        yield await screen.click(
            f"all('.ui-spinner-{arrow}')[0]", f"The field says {now}, not {wanted}.", f"Click the {arrow} arrow."
        )
    async for turn in screen.submit(f"The field says {wanted}."):
        yield turn


async def choose_list(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """A native list: opened with the mouse, its entry found by its first letters."""
    name = match(r"Select (.*) from the list", instruction)[1]
    field = "document.getElementById('options')"
    chosen = f"{field}.selectedOptions[0].text"
    if await screen.evaluate(chosen) != name:
        yield await screen.click(field, "The list is closed.", "Click the list.")
        yield type_text(name, f'The list is open and typing finds "{name}".')
        yield press("enter", why=f'"{name}" is marked in the list.')
    async for turn in screen.submit(f'"{name}" is chosen.'):
        yield turn


async def choose_date(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    month, day, year = match(r"(\d\d)/(\d\d)/(\d{4})", instruction).groups()
    wanted = int(year) * 12 + int(month)
    if await screen.evaluate("document.getElementById('datepicker').value") != f"{month}/{day}/{year}":
        if not await screen.evaluate("!!all('.ui-datepicker-title')[0]"):
            yield await screen.click(
                "document.getElementById('datepicker')", "The calendar opens at its field.", "Click the date field."
            )
        for _ in range(40):
            title = (await screen.evaluate("text(all('.ui-datepicker-title')[0])")).split()
            shown = int(title[1]) * 12 + MONTHS.index(title[0]) + 1
            if shown == wanted:
                break
            arrow, direction = ("prev", "left") if shown > wanted else ("next", "right")
            yield await screen.click(
                f"all('.ui-datepicker-{arrow}')[0]",
                f"The calendar shows {' '.join(title)}, not {MONTHS[int(month) - 1]} {year}.",
                f"Click the {direction} arrow of the calendar.",
            )
        yield await screen.click(
            f"named('.ui-datepicker-calendar td a', '{int(day)}')",
            "The calendar shows the right month.",
            f'Click day "{int(day)}".',
        )
    async for turn in screen.submit("The date is in the field."):
        yield turn


async def use_autocomplete(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    start, end = [*quoted(instruction), ""][:2]
    field = "document.getElementById('tags')"
    value = await screen.evaluate(f"{field}.value")
    if not (value.startswith(start) and value.endswith(end) and value not in ("", start)):
        async for turn in screen.fill(field, start, "text field"):
            yield turn
        fits = f"text(e).startsWith({quote(start)}) && text(e).endsWith({quote(end)})"
        item = f"[...document.querySelectorAll('.ui-menu-item')].find((e) => visible(e) && {fits})"
        for _ in range(10):
            if await screen.evaluate(f"!!{item}"):
                break
            yield say("The suggestions have not come yet.", "Wait a moment."), Action("wait", seconds=0.3)
        name = await screen.evaluate(f"text({item})")
        async for turn in screen.reach(item, f'"{name}" fits.', f'Click "{name}".', f'suggestion "{name}"'):
            yield turn
    async for turn in screen.submit("The field holds a fitting item."):
        yield turn


async def sign_agreement(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    if instruction.startswith("Click the cancel"):
        yield await screen.click("document.getElementById('cancel')", "Nothing else is asked for.", 'Click the "Cancel" button.')
        return
    name = quoted(instruction)[0]
    button = quoted(instruction)[1]
    if await screen.evaluate("document.getElementById('name').disabled"):
        async for turn in scroll_to_end(screen, "document.getElementById('text-area')", "bottom"):
            yield turn
    async for turn in screen.fill("document.getElementById('name')", name, "name field"):
        yield turn
    yield await screen.click(f"named('#area button', {quote(button)})", "The name is written.", f'Click the "{button}" button.')


async def click_checkboxes_soft(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """Which words mean the same is what the page itself goes by (`SYNONYMS`)."""
    words = match(r"similar to (.*) and click", instruction)[1].split(", ")
    groups = await screen.evaluate("SYNONYMS")
    wanted = {word for group in groups if any(one in group for one in words) for word in group}
    async for turn in tick_boxes(screen, wanted):
        yield turn


async def odd_or_even(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    for index, number in enumerate(await screen.evaluate("all('.row .display-number').map(text)")):
        name = "Odd" if int(number) % 2 else "Even"
        button = f"all('.row')[{index}].querySelector('.{name.lower()}')"
        if not await screen.evaluate(f"{button}.classList.contains('selected')"):
            yield await screen.click(button, f"{number} is {name.lower()}.", f'Click "{name}" beside {number}.')
    async for turn in screen.submit("All numbers are marked."):
        yield turn


ORACLES: dict[str, Oracle] = {
    "use-slider": use_slider,
    "use-slider-2": use_slider_2,
    "use-spinner": use_spinner,
    "form-sequence": form_sequence,
    "form-sequence-2": form_sequence_2,
    "form-sequence-3": form_sequence_3,
    "choose-list": choose_list,
    "choose-date": choose_date,
    "choose-date-easy": choose_date,
    "choose-date-medium": choose_date,
    "choose-date-nodelay": choose_date,
    "use-autocomplete": use_autocomplete,
    "use-autocomplete-nodelay": use_autocomplete,
    "sign-agreement": sign_agreement,
    "click-checkboxes-soft": click_checkboxes_soft,
    "odd-or-even": odd_or_even,
}
