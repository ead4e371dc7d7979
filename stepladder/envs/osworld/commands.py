"""Commands of OSWorld's machine that a pocket desktop has under another name, or has no need of, in a directory that nobody inside
can write to: what an agent leaves never stands in for a program that grading runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from stepladder.envs.desktop.provided import kept_directory
from stepladder.envs.desktop.sandbox import PROVIDED

#: The name of the directory below that of what is provided, and where programs inside find it.
NAME = "commands"
FOLDER = f"{PROVIDED}/{NAME}"
#: Where programs are looked for. Nothing of it can be written to inside, so that ~/.local/bin is not part of it.
PATH = f"{FOLDER}:/usr/local/bin:/usr/bin:/bin:/usr/games:/usr/sbin:/sbin"
#: The window is as large with a dock as without one: pages look as they did.
_CHROME = (
    "exec chromium --window-size=1050,1060 --no-sandbox --disable-gpu --no-first-run --no-default-browser-check --test-type "
    '--password-store=basic --force-renderer-accessibility --user-data-dir="$HOME/.config/google-chrome" "$@"'
)
#: There is one user, who may do everything in the sandbox that anybody may: options are passed over, with what belongs to them.
_SUDO = r"""while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break;;
    --user|--group|--prompt|--host|--chdir) shift;;
    --*) ;;
    -?*)
      letters=${1#-}
      while [ -n "$letters" ]; do
        rest=${letters#?}
        case "$letters" in
          [Dghpu]*) [ -n "$rest" ] || shift; break;;
        esac
        letters=$rest
      done;;
    *) break;;
  esac
  [ $# -gt 0 ] && shift
done
[ $# -gt 0 ] || exit 0
exec env -- "$@"
"""
COMMANDS = {
    "google-chrome": _CHROME,
    "python": 'exec python3 "$@"',
    "sudo": _SUDO,
    # Its windows belong to a server that the message bus starts, and the bus was there before the display.
    "gnome-terminal": 'dbus-update-activation-environment DISPLAY; exec /usr/bin/gnome-terminal "$@"',
    # Carries Chrome's debugging port out of the machine; nobody outside reaches into the sandbox.
    "socat": "exec sleep infinity",
    # Chromium's processes are called so.
    "pkill": 'for last; do :; done\ncase "$last" in *chrome) exec /usr/bin/pkill chromium;; esac\nexec /usr/bin/pkill "$@"',
}


def commands_directory() -> Path:
    """The directory with the commands whose programs are there, made when it is not."""
    there = {name: script for name, script in COMMANDS.items() if name != "gnome-terminal" or shutil.which(name)}
    return kept_directory(NAME, {Path(name): f"#!/bin/sh\n{script}\n".encode() for name, script in there.items()}, 0o755)
