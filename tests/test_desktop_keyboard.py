"""Every character has a key: those of the layout their own, others a spare one, each its own for as long as it is lent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepladder.envs.acting import CannotDo
from stepladder.envs.desktop import inputs
from stepladder.envs.desktop.inputs import Hands
from stepladder.envs.desktop.keyboard import KEYSYMS, Keyboard, KeyPress, keysym_of
from stepladder.keys import NAMED_KEYS
from stepladder.types import Action

#: A small layout: "a" and "A" on one key, "1" and "!" on another, named keys, and four spare ones.
LAYOUT = {
    10: (ord("a"), ord("A")),
    11: (ord("1"), ord("!")),
    12: (KEYSYMS["enter"], 0),
    13: (KEYSYMS["shift"], 0),
    14: (KEYSYMS["ctrl"], 0),
    15: (KEYSYMS["capslock"], 0),
    16: (ord(" "), 0),
    **dict.fromkeys(range(20, 24), (0, 0)),
}


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    """Four spare keys are few; the limit of how often they may be lent anew in one text has a test of its own."""
    usual, inputs._MOST_PORTIONS = inputs._MOST_PORTIONS, 1000
    yield
    inputs._MOST_PORTIONS = usual


typeable = st.characters(exclude_categories=("Cs", "Cc"))


class Server:
    """What an application would read: it looks up a key's meaning when it is told of it."""

    def __init__(self) -> None:
        self.meaning = dict(LAYOUT)
        self.read: list[int] = []
        self.held: set[int] = set()
        self.locked = False
        self.place = (0, 0)
        self.pressed: list[int] = []

    def mapping(self) -> dict[int, tuple[int, ...]]:
        return dict(self.meaning)

    def map_keys(self, keycode: int, keysyms: list[int]) -> None:
        for offset, keysym in enumerate(keysyms):
            self.meaning[keycode + offset] = (keysym, keysym)

    def key(self, keycode: int, down: bool) -> None:
        if down:
            self.held.add(keycode)
            keysym = self.meaning[keycode][13 in self.held] or self.meaning[keycode][0]
            if keysym == KEYSYMS["capslock"]:
                self.locked = not self.locked
            elif keycode not in (13, 14):
                self.read.append(ord(chr(keysym).swapcase()) if self.locked and chr(keysym).isalpha() and keysym < 256 else keysym)
        else:
            self.held.discard(keycode)

    def capitals_locked(self) -> bool:
        return self.locked

    def move(self, x: int, y: int) -> None:
        self.place = (x, y)

    def pointer(self) -> tuple[int, int]:
        return self.place

    def button(self, number: int, down: bool) -> None:
        if down:
            self.pressed.append(number)

    def sync(self) -> None:
        pass


def hands(server: Server) -> Hands:
    return Hands(server, 640, 480, lambda: None)  # type: ignore[arg-type]


@given(st.text(typeable, max_size=40))
def test_what_is_typed_is_what_is_read(text: str) -> None:
    server = Server()
    hands(server).act(Action("type", text=text))
    assert server.read == [keysym_of(character) for character in text]
    assert not server.held


@given(st.text(typeable, max_size=20))
def test_capitals_lock_does_not_matter_and_stays(text: str) -> None:
    server = Server()
    server.locked = True
    hands(server).act(Action("type", text=text))
    assert server.read == [keysym_of(character) for character in text]
    assert server.locked


@given(st.text(typeable, min_size=1, max_size=200))
def test_a_spare_key_changes_its_meaning_only_after_programs_have_read(text: str) -> None:
    server, unread = Server(), dict[int, tuple[int, ...]]()
    taken = server.key
    mapped = server.map_keys

    def key(keycode: int, down: bool) -> None:
        if down:
            unread[keycode] = server.meaning[keycode]
        taken(keycode, down)

    def map_keys(keycode: int, keysyms: list[int]) -> None:
        assert keycode not in unread
        mapped(keycode, keysyms)

    server.key, server.map_keys = key, map_keys  # type: ignore[method-assign]
    Hands(server, 640, 480, unread.clear).act(Action("type", text=text))  # type: ignore[arg-type]
    assert server.read == [keysym_of(character) for character in text]


@given(st.integers(0, 0x10FFFF).filter(lambda code: not 0xD800 <= code < 0xE000))
def test_keysyms_are_characters(code: int) -> None:
    character = chr(code)
    if code < 0x20 or 0x7F <= code < 0xA0:
        if character in "\n\r\t\b\x1b":
            assert keysym_of(character) in KEYSYMS.values()
        else:
            with pytest.raises(ValueError, match="control character"):
                keysym_of(character)
    else:
        keysym = keysym_of(character)
        assert chr(keysym if keysym < 0x100 else keysym - 0x01000000) == character


def test_every_named_key_has_a_keysym() -> None:
    assert set(NAMED_KEYS) == set(KEYSYMS)


def test_shift_is_pressed_for_upper_case_alone() -> None:
    keyboard = Keyboard(LAYOUT)
    assert keyboard.press(ord("a")) == KeyPress(10)
    assert keyboard.press(ord("A")) == KeyPress(10, shift=True)
    assert keyboard.press(ord("é")) is None


def test_lent_keys_are_given_back() -> None:
    keyboard = Keyboard(LAYOUT)
    assert keyboard.spare == 4
    keyboard.lend([keysym_of(character) for character in "éèçß"])
    with pytest.raises(ValueError, match="1 characters are not on the keyboard, and 0 keys are free"):
        keyboard.lend([keysym_of("漢")])
    keyboard.give_back()
    keyboard.lend([keysym_of("漢")])
    assert keyboard.press(keysym_of("é")) is None


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action("click", 640.0, 10.0), "outside the screen of 640 x 480 pixels"),
        (Action("click", 10.0), "both coordinates"),
        (Action("click", float("nan"), 3.0), "outside"),
        (Action("key", keys=("no such key",)), "there is no key"),
        (Action("key"), "at least one key"),
        (Action("key", keys=("contrl",)), "did you mean 'ctrl'"),
        (Action("drag", 1.0, 1.0), "where it ends"),
        (Action("scroll", amount=float("inf")), "cannot scroll"),
        (Action("type", text="a\x00"), "control character"),
        (Action("type", text="a" * 10_001), "at most 10000"),
        (Action("call", name="x"), "cannot carry out 'call'"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(action: Action, said: str) -> None:
    server = Server()
    with pytest.raises(CannotDo, match=said):
        hands(server).act(action)
    assert not server.read
    assert not server.held
    assert not server.pressed


def test_a_text_that_would_keep_programs_waiting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "_MOST_PORTIONS", 4)
    server = Server()
    used = hands(server)
    used.act(Action("type", text="一二三四五六七八九十百千万億兆零"))
    assert len(server.read) == 16
    with pytest.raises(CannotDo, match="in parts with at most 4 of them"):
        used.act(Action("type", text="一二三四五六七八九十百千万億兆零山"))
    assert len(server.read) == 16


def test_modifiers_of_a_click_are_let_go_of_even_when_it_fails() -> None:
    server = Server()
    used = hands(server)

    def broken(number: int, down: bool) -> None:
        raise OSError("gone")

    server.button = broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="gone"):
        used.act(Action("click", 5.0, 5.0, keys=("ctrl", "shift")))
    assert not server.held


def test_a_key_that_needs_shift_is_pressed_with_it() -> None:
    server = Server()
    hands(server).act(Action("key", keys=("!",)))
    hands(server).act(Action("key", keys=("A",)))  # the key of the letter: capitals of names make no difference
    assert server.read == [ord("!"), ord("a")]
    assert not server.held


def test_what_is_held_is_released() -> None:
    server = Server()
    used = hands(server)
    used.act(Action("key_down", keys=("shift", "a")))
    used.act(Action("mouse_down", 3.0, 4.0))
    assert server.held == {13, 10}
    used.release()
    assert not server.held


def test_scrolling_presses_the_wheel_once_a_notch() -> None:
    server = Server()
    used = hands(server)
    used.act(Action("scroll", amount=2.0))
    used.act(Action("scroll", amount=-1.0))
    used.act(Action("scroll", amount=0.2, name="horizontal"))
    used.act(Action("scroll", amount=-3.0, name="horizontal"))
    assert server.pressed == [4, 4, 5, 7, 6, 6, 6]
