"""Findings on Stepladder's own tasks that somebody has looked at and found to be right, each with its reason."""

from __future__ import annotations

from stepladder.audit.findings import Allowed

_TELLS = "the function only tells what the note then has to say, and the note is right"
_RING = "the focus is on a choice, where a stray text and a backspace change nothing but the ring around it"
_KEPT = "Chromium keeps the bookmark as soon as Ctrl+D is pressed; what comes after only gives it a name, which nobody asked for"
_SELECTED = "the file is selected all the same, and what was asked for is done to it and to no other"
_SHELL = "the command does what was asked for and then complains of a file that is not there"
_NEWLINE = "an end of line more or less at the end of a file makes no difference"

KNOWN: tuple[Allowed, ...] = (
    Allowed("desk/tool-run", "wrong_argument", _TELLS, "argument"),
    Allowed("desk/tool-read-cell", "wrong_argument", _TELLS, "argument"),
    Allowed("desk/web-form", "perturbed", _RING, "typed"),
    Allowed("desk/web-form", "perturbed", _RING, "erased"),
    Allowed("desk/web-bookmark", "stopped_early", _KEPT),
    Allowed("desk/web-bookmark", "perturbed", _KEPT),
    Allowed("desk/thunar-*", "wrong_argument", _SELECTED, "key"),
    Allowed("desk/pcmanfm-*", "wrong_argument", _SELECTED, "key"),
    Allowed("desk/pcmanfm-copy", "wrong_argument", _SELECTED, "text_longer"),
    Allowed("desk/terminal-executable", "wrong_argument", _SHELL, "text_longer"),
    Allowed("desk/terminal-pack", "wrong_argument", _SHELL, "text_longer"),
    Allowed("desk/editor-capitals", "perturbed", _NEWLINE, "erased"),
    Allowed(
        "desk/terminal-folders",
        "wrong_argument",
        "one more folder elsewhere in the home is nothing that was forbidden",
        "text_longer",
    ),
    Allowed("desk/document-delete", "perturbed", "it takes away the empty line that the paragraph had left", "erased"),
    Allowed(
        "desk/calculator-*",
        "perturbed",
        "the calculator knows no undo; its button had only just come up after the key before",
        "undone",
    ),
    Allowed(
        "desk/slides-*", "perturbed", "nothing is selected to be typed into or erased; the pointer had only just changed", "typed"
    ),
    Allowed(
        "desk/slides-*", "perturbed", "nothing is selected to be typed into or erased; the pointer had only just changed", "erased"
    ),
    Allowed("desk/editor-copy-code", "wrong_argument", "the whole path is typed after it, and the right file is opened", "key"),
    Allowed(
        "desk/editor-copy-code", "wrong_argument", "the whole path is typed after it, and the right file is opened", "text_longer"
    ),
    Allowed("desk/editor-copy-code", "wrong_argument", "Enter had closed the dialog before the click", "displaced"),
)
