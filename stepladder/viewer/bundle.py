"""Hand-written JavaScript modules as one classic script, which a page opened from disk may load; it may load no modules.

Only what the pages use is understood: imports of names from "./x.js" at the start of a line, exports of declarations and of names
at the start of a line, `import("./x.js")` anywhere. Every module becomes a function that runs once, in the order in which modules
need each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

_IMPORT = re.compile(r"""^import\s*\{([^}]*)\}\s*from\s*["']\./([\w-]+\.js)["'];?[ \t]*$""", re.MULTILINE)
_IMPORT_ALONE = re.compile(r"""^import\s*["']\./([\w-]+\.js)["'];?[ \t]*$""", re.MULTILINE)
_IMPORT_LATER = re.compile(r"""\bimport\(\s*["']\./([\w-]+\.js)["']\s*\)""")
_DECLARATION = re.compile(r"^export\s+((?:async\s+)?function\*?|const|let|class)\s+([\w$]+)", re.MULTILINE)
_NAMES = re.compile(r"^export\s*\{([^}]*)\};?[ \t]*$", re.MULTILINE)
#: What is left of these at the start of a line was not understood.
_LEFT = re.compile(r"^(?:import\b(?!\()|export\b).*$", re.MULTILINE)


class BundleError(ValueError):
    """Modules that cannot be bundled; the message names the module and the line."""


def bundle(folder: Path, entry: str = "main.js") -> str:
    """The script that does what the module `entry` of `folder` does. Raises BundleError."""
    modules: dict[str, str] = {}
    _add(folder, entry, modules, ())
    return "".join(
        (
            '"use strict";\n(() => {\nconst modules = Object.create(null);\n',
            *(f"// {name}\nmodules[{json.dumps(name)}] = (() => {{\n{text}\n}})();\n" for name, text in modules.items()),
            "})();\n",
        )
    )


def _add(folder: Path, name: str, modules: dict[str, str], trail: tuple[str, ...]) -> None:
    """Put a module behind all those that it imports; behind it come those that it imports later, when they are asked for."""
    if name in trail:
        raise BundleError(f"modules import each other in a circle: {' -> '.join((*trail[trail.index(name) :], name))}")
    if name in modules:
        return
    path = folder / name
    if not path.is_file():
        raise BundleError(f"{trail[-1] if trail else 'the page'} imports {name}, which is not there")
    source = path.read_text()
    needed = [found[2] for found in _IMPORT.finditer(source)] + [found[1] for found in _IMPORT_ALONE.finditer(source)]
    for other in dict.fromkeys(needed):
        _add(folder, other, modules, (*trail, name))
    modules[name] = _wrapped(name, source)
    for other in dict.fromkeys(found[1] for found in _IMPORT_LATER.finditer(source)):
        _add(folder, other, modules, ())


def _wrapped(name: str, source: str) -> str:
    """The body of the function that a module becomes; it returns what the module exports."""
    exports: dict[str, str] = {}
    text = _IMPORT.sub(lambda found: f"const {{ {_renamed(found[1], ': ')} }} = modules[{json.dumps(found[2])}];", source)
    text = _IMPORT_ALONE.sub("", text)
    text = _IMPORT_LATER.sub(lambda found: f"Promise.resolve().then(() => modules[{json.dumps(found[1])}])", text)

    def declared(found: re.Match[str]) -> str:
        exports[found[2]] = found[2]
        return f"{found[1]} {found[2]}"

    def named(found: re.Match[str]) -> str:
        exports.update(_pairs(found[1]))
        return ""

    text = _NAMES.sub(named, _DECLARATION.sub(declared, text))
    left = _LEFT.search(text)
    if left is not None:
        raise BundleError(f"{name}: {left[0].strip()!r} is a form of import or export that the bundler does not know")
    # Names are read when they are asked for: what is declared further down is there by then.
    returned = ", ".join(f"get {outside}() {{ return {inside}; }}" for outside, inside in exports.items())
    return f"{text}\nreturn Object.freeze({{ {returned} }});"


def _pairs(names: str) -> Mapping[str, str]:
    """Outer name -> inner name of "a, b as c"."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, names.split(","))):
        inside, _, outside = part.partition(" as ")
        found[outside.strip() or inside.strip()] = inside.strip()
    return found


def _renamed(names: str, between: str) -> str:
    """The names of an import as a pattern: "a as b" becomes "a: b"."""
    return ", ".join(re.sub(r"\s+as\s+", between, part.strip()) for part in names.split(",") if part.strip())
