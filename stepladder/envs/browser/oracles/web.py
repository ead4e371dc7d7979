"""Demonstrators for small web sites: posts, search results, an address book, menus."""

from __future__ import annotations

from collections.abc import AsyncIterator

from stepladder.envs.browser.oracles.reading import match, quoted
from stepladder.envs.browser.oracles.screen import Oracle, OracleError, Screen, Turn, quote


async def social_media(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    user = match(r"user (@[\w.'-]+)", instruction)[1]
    name = quoted(instruction)[0]
    post = f"[...document.querySelectorAll('.media')].find((e) => text(e.querySelector('.username')) === {quote(user)})"
    if name in ("Reply", "Retweet", "Like"):
        async for turn in screen.reach(
            f"{post}.querySelector('.{name.lower()}')",
            f"The post by {user} has this icon.",
            f'Click the "{name}" icon of {user}.',
            "post",
        ):
            yield turn
        return
    item = f"[...{post}.querySelectorAll('li')].find((e) => visible(e) && text(e).startsWith({quote(name)}))"
    if not await screen.evaluate(f"!!{item}"):
        async for turn in screen.reach(
            f"{post}.querySelector('.more')",
            f'"{name}" is in the menu of this post.',
            f"Click the three dots of {user}.",
            f"post by {user}",
        ):
            yield turn
    async for turn in screen.reach(item, "The menu is open.", f'Click "{name}".', f'item "{name}"'):
        yield turn


async def social_media_some(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    """Also the variant that asks for all posts by someone."""
    user = match(r"by (@[\w.'-]+) and", instruction)[1]
    name = quoted(instruction)[0]
    amount = match(r"on (\d+|all) posts?", instruction)[1]
    icons = (
        f"[...document.querySelectorAll('.media')].filter((e) => text(e.querySelector('.username')) === {quote(user)})"
        f".map((e) => e.querySelector('.{name.lower()}'))"
    )
    total = await screen.evaluate(f"{icons}.length")
    wanted = total if amount == "all" else int(amount)
    done = await screen.evaluate(f"{icons}.filter((e) => e.classList.contains('active')).length")
    for index in range(total):
        if done == wanted:
            break
        icon = f"{icons}[{index}]"
        if await screen.evaluate(f"{icon}.classList.contains('active')"):
            continue
        async for turn in screen.reach(
            icon, f"This post is by {user}.", f'Click the "{name}" icon of {user}.', f"next post by {user}"
        ):
            yield turn
        done += 1
    async for turn in screen.submit("Enough posts are marked."):
        yield turn


async def search_engine(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    word = quoted(instruction)[0]
    index = int(match(r"(\d+)(?:st|nd|rd|th) search result", instruction)[1]) - 1
    field = "document.getElementById('search-text')"
    searched = await screen.evaluate("!!all('#page-content a')[0]")
    if not searched or await screen.evaluate(f"{field}.value") != word:
        async for turn in screen.fill(field, word, "search field"):
            yield turn
        yield await screen.click("all('#search')[0]", "The search word is written.", 'Click the "Search" button.')
    link = f"all('#page-content a').find((e) => e.dataset.result === '{index}')"
    for _ in range(3):
        if await screen.evaluate(f"!!{link}"):
            break
        yield await screen.click(
            "named('.page-item a', '>')",
            "There are three results on a page and this page is too early.",
            'Click ">" for the next page.',
        )
    title = await screen.evaluate(f"text({link})")
    yield await screen.click(link, f"Counted over the pages this is result {index + 1}.", f'Click the result "{title}".')


async def phone_book(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    found = match(r"Find (.+) in the contact book and click on their (\w+)", instruction)
    person, detail = found[1], found[2]
    for _ in range(5):
        if await screen.evaluate("text(document.querySelector('#contact .name'))") == person:
            break
        yield await screen.click("named('.page-item a', '>')", f"This is not {person}.", 'Click ">" for the next page.')
    else:
        raise OracleError(f"no contact is {person!r}")
    yield await screen.click(f"all('#contact .{detail}')[0]", f"This is {person}.", f"Click the {detail} of {person}.")


async def click_menu(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    path = match(r"Select (.*)", instruction)[1].split(">")
    for name in path[:-1]:
        item = f"named('#menu li > div', {quote(name)})"
        yield await screen.click(item, f'Pointing at "{name}" opens the next menu.', f'Point at "{name}".', kind="move")
    last = f"named('#menu li > div', {quote(path[-1])})"
    yield await screen.click(last, f'"{path[-1]}" is the entry asked for.', f'Click "{path[-1]}".')


async def click_menu_2(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    icon = await screen.evaluate("((e) => e ? e.className.split(' ').pop() : null)(document.querySelector('#query .ui-icon'))")
    if icon is None:
        label = f"[...document.querySelectorAll('#menu li > div')].find((e) => text(e) === {quote(quoted(instruction)[1])})"
    else:
        label = f"document.querySelector('#menu .{icon}').parentElement"
    name = await screen.evaluate(f"text({label})")
    if not await screen.evaluate("visible(document.getElementById('menu'))"):
        yield await screen.click("all('#open-menu')[0]", "The menu is closed.", 'Click the "Menu" button.')
    if not await screen.evaluate(f"visible({label})"):
        yield await screen.click("named('#menu li > div', 'Playback')", f'"{name}" must be under "Playback".', 'Click "Playback".')
    yield await screen.click(label, f'"{name}" is the item asked for.', f'Click "{name}".')


async def click_scroll_list(screen: Screen, instruction: str) -> AsyncIterator[Turn]:
    names = match(r"Select (.*) from the scroll list", instruction)[1].split(", ")
    for index, name in enumerate(names):
        option = f"named('#options option', {quote(name)})"
        async for turn in screen.reveal(option, f'entry "{name}"'):
            yield turn
        why = f'"{name}" is asked for.' if index == 0 else f'"{name}" is asked for too, so the first one must stay.'
        what = f'Click "{name}"' + (" with ctrl held." if index else ".")
        yield await screen.click(option, why, what, keys=("ctrl",) if index else ())
    async for turn in screen.submit("The right entries are chosen."):
        yield turn


ORACLES: dict[str, Oracle] = {
    "social-media": social_media,
    "social-media-some": social_media_some,
    "social-media-all": social_media_some,
    "search-engine": search_engine,
    "phone-book": phone_book,
    "click-menu": click_menu,
    "click-menu-2": click_menu_2,
    "click-scroll-list": click_scroll_list,
}
