"""Words that screens and tasks are made of, each for good either in the train or in the held-out part.

The part is a function of the word alone (a hash), so that two runs, two machines and two data sources never disagree about it.
"""

from __future__ import annotations

import functools
import hashlib
import string
from collections.abc import Sequence
from random import Random
from typing import Literal

WordPart = Literal["train", "heldout", "all"]

#: One word in this many is held out.
HELD_OUT_SHARE = 8

_UI = """
    OK Ok Okay Yes No Cancel Submit Save Open Close Edit Copy Paste Cut Delete Print Help Exit Next Back Previous Search
    Login Logout Send Reply Forward Share Upload Download Undo Redo Zoom Play Stop Pause Home Menu File View Apply Reset
    Sort Filter Export Import Settings Profile Refresh Continue Finish Start Begin End Add Remove Create Update Insert
    Replace Find Select Clear Confirm Accept Decline Agree Allow Deny Block Retry Ignore Skip Done Quit Install Enable
    Disable Connect Disconnect Join Leave Follow Like Comment Post Publish Draft Archive Restore Rename Move Duplicate Merge
    Split Lock Unlock Hide Show Expand Collapse Minimize Maximize Restart Shutdown Sleep Register Subscribe Unsubscribe
    Checkout Buy Sell Order Pay Account Address Album Amount Author Audio Badge Balance Billing Birthday Bookmark Brightness
    Browser Budget Calendar Camera Category Chapter Chart Chat City Client Cloud Code Color Column Company Contact Content
    Contrast Cookie Country Coupon Currency Customer Dashboard Data Database Date Default Description Desktop Details Device
    Dialog Discount Display Document Domain Duration Editor Email Event Express Favorites Feature Feedback Field Folder Font
    Footer Format Forum Gallery Gender General Gift Global Group Guest Header Height History Hotel Icon Image Inbox Index
    Info Invoice Item Journal Keyboard Label Language Layout Level Library License Link List Location Mail Manager Margin
    Market Member Message Method Mobile Mode Model Month Mouse Music Name Network News Notes Number Office Offline Online
    Option Orders Output Owner Package Page Panel Password Payment People Phone Photo Picture Plan Player Plugin Policy
    Power Preview Price Printer Privacy Product Project Public Quality Quantity Query Queue Quick Range Rating Recent Record
    Region Report Request Review Role Room Route Sales Sample Scale Schedule Screen Script Security Sender Series Server
    Service Session Shape Shipping Shop Size Sound Source Speed Status Storage Store Street Style Subject Summary Support
    Symbol System Table Target Task Team Template Terminal Text Theme Ticket Time Title Toolbar Topic Total Track Trash
    Travel Type Unit User Username Value Vendor Version Video Volume Wallet Warning Weather Website Week Width Window Wizard
    Year Zone Zip Backup Battery Bluetooth
"""

_NAMES = """
    Ada Alan Alice Amir Anna Anton Arjun Ben Bianca Boris Carla Carlos Chen Chloe Clara Daniel David Diego Dora Elena Emil
    Emma Eric Eva Farid Felix Fiona Frank Gina Grace Greta Hana Hassan Helen Hugo Ida Igor Ines Iris Ivan Jack Jana Jin
    Jonas Julia Kai Karim Kate Kim Lars Laura Leila Leo Lily Linh Louis Lucia Maja Marco Maria Mark Maya Mei Mia Milan Mina
    Nadia Nina Noah Nora Olga Oscar Otto Paul Petra Pia Priya Rana Rita Robin Rosa Ruth Sam Sara Sofia Stefan Sven Tara Theo
    Tina Tom Uma Vera Victor Wanda Willow Yara Yusuf Zoe
"""

_PLAIN = """
    apple arrow autumn basket beach bird boat bottle branch bread bridge brown butter candle castle cheese cherry chicken
    circle clock coffee copper corner cotton dinner doctor dragon dream eagle earth elephant engine evening family farmer
    feather fire flower forest friend garden ginger glass gold grape green hammer harbor honey horse island jacket juice
    jungle kitchen ladder lake lantern lemon letter lion market meadow melon metal milk mirror monkey moon morning mountain
    needle ocean orange oven paint palace paper pearl pencil pepper piano pillow planet plum pocket potato purple rabbit
    rain river rocket rose salt sand school shadow sheep silver snow spoon spring square star stone storm sugar summer
    sunset table tiger tomato tower train tree tulip turtle valley village violin water wheat whale window winter wolf wood
    yellow zebra
"""

UI_WORDS: tuple[str, ...] = tuple(_UI.split())
NAMES: tuple[str, ...] = tuple(_NAMES.split())
PLAIN_WORDS: tuple[str, ...] = tuple(_PLAIN.split())
VOCABULARY: tuple[str, ...] = tuple(dict.fromkeys(UI_WORDS + PLAIN_WORDS + NAMES))
_ALPHABETS = (string.ascii_lowercase, string.ascii_letters, string.ascii_letters + string.digits, string.digits)


@functools.lru_cache(maxsize=65536)
def held_out(word: str) -> bool:
    """Whether this word belongs to the held-out part. Capitals make no difference."""
    return share_of(f"word:{word.lower()}", HELD_OUT_SHARE)


def share_of(key: str, share: int) -> bool:
    """True for one key in `share`, decided by the SHA-256 of the key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % share == 0


@functools.cache
def vocabulary(part: WordPart = "all", source: tuple[str, ...] = VOCABULARY) -> tuple[str, ...]:
    """The words of `source` that belong to `part`."""
    return tuple(word for word in source if part == "all" or held_out(word) == (part == "heldout"))


def letters(random: Random, part: WordPart = "all", lengths: Sequence[int] = (3, 4, 5, 6, 7)) -> str:
    """A random string of letters and digits that belongs to `part`."""
    while True:
        text = "".join(random.choices(random.choice(_ALPHABETS), k=random.choice(lengths)))
        if part == "all" or held_out(text) == (part == "heldout"):
            return text
