"""Findings on Stepladder's own tasks that somebody has looked at and found to be right, each with its reason."""

from __future__ import annotations

from stepladder.audit.findings import Allowed

_TELLS = "the function only tells what the note then has to say, and the note is right"
_READ = "the command only tells what the note then has to say, and the note is right"
_RING = "the focus is on a choice, where a stray text and a backspace change nothing but the ring around it"
_KEPT = "Chromium keeps the bookmark as soon as Ctrl+D is pressed; what comes after only gives it a name, which nobody asked for"
_SELECTED = "the file is selected all the same, and what was asked for is done to it and to no other"
_SHELL = "the command does what was asked for and then complains of a file that is not there"
_SAVED = "Enter had saved the file already; the click is for dialogs that stay open, and nothing is saved after it"
_PATH = "the whole path is typed after it, and the right file is opened"
_NOTHING = "nothing is selected to be typed into or erased; the picture had only just caught up with the step before"

KNOWN: tuple[Allowed, ...] = (
    Allowed("desk/tool-run", "wrong_argument", _TELLS, "argument"),
    Allowed("desk/tool-read-cell", "wrong_argument", _TELLS, "argument"),
    Allowed("desk/across-terminal-to-note", "wrong_argument", _READ, "text_changed"),
    Allowed("desk/web-form", "perturbed", _RING, "typed"),
    Allowed("desk/web-form", "perturbed", _RING, "erased"),
    Allowed("desk/web-bookmark", "stopped_early", _KEPT),
    Allowed("desk/web-bookmark", "perturbed", _KEPT),
    Allowed("desk/thunar-move", "wrong_argument", _SELECTED, "key"),
    Allowed("desk/thunar-delete", "wrong_argument", _SELECTED, "key"),
    Allowed("desk/pcmanfm-delete", "wrong_argument", _SELECTED, "key"),
    Allowed("desk/pcmanfm-copy", "wrong_argument", _SELECTED, "text_longer"),
    Allowed("desk/terminal-executable", "wrong_argument", _SHELL, "text_longer"),
    Allowed("desk/terminal-pack", "wrong_argument", _SHELL, "text_longer"),
    Allowed("desk/terminal-folders", "wrong_argument", "one more folder elsewhere in the home was not forbidden", "text_longer"),
    Allowed("desk/editor-capitals", "perturbed", "an end of line more or less at the end of a file makes no difference", "erased"),
    Allowed("desk/editor-save-as", "stopped_early", _SAVED),
    Allowed("desk/editor-save-as", "wrong_argument", _SAVED, "displaced"),
    Allowed("desk/editor-save-as", "perturbed", _SAVED, "erased"),
    Allowed("desk/editor-save-as", "perturbed", _SAVED, "undone"),
    Allowed("desk/editor-new-file", "stopped_early", _SAVED),
    Allowed("desk/editor-new-file", "wrong_argument", _SAVED, "displaced"),
    Allowed("desk/editor-new-file", "perturbed", _SAVED),
    Allowed("desk/editor-copy-code", "wrong_argument", _PATH, "key"),
    Allowed("desk/editor-copy-code", "wrong_argument", _PATH, "text_longer"),
    Allowed("desk/editor-copy-code", "wrong_argument", "Enter had closed the dialog before the click", "displaced"),
    Allowed("desk/document-delete", "perturbed", "it takes away the empty line that the paragraph had left", "erased"),
    Allowed("desk/document-center", "perturbed", "at the very beginning there is nothing to erase", "erased"),
    Allowed("desk/calculator-sum", "perturbed", "the calculator has no undo; a button had only just come up again", "undone"),
    Allowed("desk/calculator-root", "perturbed", "the calculator has no undo; a button had only just come up again", "undone"),
    *(
        Allowed(f"desk/slides-{task}", "perturbed", _NOTHING, way)
        for task in ("delete", "duplicate")
        for way in ("typed", "erased")
    ),
)
