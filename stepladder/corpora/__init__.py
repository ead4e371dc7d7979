"""Corpora by name. Nothing is imported until it is asked for; `package.module:function` works without an entry here.

A name stands for a function (seed, number) -> Document, perhaps with further keyword settings. One that takes `images` gets the
`ImageStore` into which its pictures go.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.config import ConfigError
from stepladder.corpora.corpus import HELD_OUT_SHARE, Corpus, GeneratedCorpus, LoadedCorpus
from stepladder.corpora.document import Document
from stepladder.corpora.read import Columns
from stepladder.corpora.stored import INDEX, StoredCorpus
from stepladder.images import ImageStore
from stepladder.plugins import load

CORPORA = {
    "interface": "stepladder.corpora.interface:interface_text",
    "arithmetic": "stepladder.corpora.arithmetic:arithmetic",
    "programs": "stepladder.corpora.programs:program",
    "captions": "stepladder.corpora.screens:captioned_screen",
    "screen_questions": "stepladder.corpora.screens:questioned_screen",
    "policies": "stepladder.corpora.policies:policy_text",
    "lookup": "stepladder.corpora.lookup:lookup",
    "rules": "stepladder.corpora.rules:rule_text",
}


def corpus_function(name: str) -> Callable[..., Document]:
    """The function behind a name of the table or a dotted path. Raises PluginError that names the nearest valid name."""
    found: Callable[..., Document] = load(name, CORPORA, "corpus")
    return found


def open_corpus(name: str, images: ImageStore, /, **options: Any) -> Corpus:
    """The corpus `name`: a folder that was prepared (`stepladder.corpora.stored`), another path of files (`read`), which are
    loaded as they are, or else a generated corpus. Pictures are told to `images`.

    Options of a path of files are `share` and the fields of `Columns`, those of a generated corpus its function's. Raises
    PluginError where there is no such thing, ConfigError for options that it has not, CorpusError for files that cannot be read.
    """
    path = Path(name)
    if name in CORPORA or not path.exists():
        return generated_corpus(name, images, **options)
    if (path / INDEX).exists():
        _check_options(name, options, ())
        return StoredCorpus(path, images)
    columns = [spec.name for spec in dataclasses.fields(Columns)]
    _check_options(name, options, ("share", *columns))
    named: dict[str, Any] = {
        option: tuple(value) if option == "kept" else value for option, value in options.items() if option in columns
    }
    return LoadedCorpus(path, images, Columns(**named), options.get("share", HELD_OUT_SHARE))


def generated_corpus(name: str, images: ImageStore | None = None, /, **options: Any) -> Corpus:
    """The generated corpus `name` with `options`; pictures go into `images`. Raises PluginError for the name, and ConfigError for
    an option that it has not and for pictures without a place (law 10)."""
    function = corpus_function(name)
    parameters = [option for option in inspect.signature(function).parameters if option not in ("seed", "number")]
    _check_options(name, options, [option for option in parameters if option != "images"])
    if "images" in parameters:
        if images is None:
            raise ConfigError(f"corpus {name!r} has pictures; give it an ImageStore for them")
        options["images"] = images
    return GeneratedCorpus(functools.partial(function, **options), name)


def _check_options(name: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"
            raise ConfigError(f"corpus {name!r} has no option {option!r}; {hint}")
