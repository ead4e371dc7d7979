#!/usr/bin/env bash
# Sees to it that there is a browser: install_chromium.sh PYTHON shell|full
# "shell" is the headless shell that environments run in, with its fonts; "full" adds Chromium itself, which the tests of the
# slower fallback need. As root on Debian both come from apt; elsewhere this says what to install.
set -euo pipefail
python=$1
wanted=$2

missing=()
if ! "$python" -c 'from stepladder.envs.browser.find import find_chromium; find_chromium()' 2>/dev/null; then
  missing+=(chromium-headless-shell)
fi
if command -v dpkg >/dev/null && ! dpkg -s fonts-liberation >/dev/null 2>&1; then
  missing+=(fonts-liberation)
fi
if [ "$wanted" = full ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
  missing+=(chromium)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "== apt-get install ${missing[*]}"
  if apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null; then
    exit 0
  fi
fi
echo "Please install: ${missing[*]}"
echo "  Debian:             sudo apt-get install ${missing[*]}"
echo "  Ubuntu and others:  $python -m pip install playwright && $python -m playwright install --with-deps chromium chromium-headless-shell"
echo "                      (fonts: the package fonts-liberation, or liberation-fonts)"
echo "  or set STEPLADDER_CHROMIUM to the path of a Chromium, Chrome or headless shell binary"
# Fonts only change how pages look; a missing browser is a stop.
"$python" -c 'from stepladder.envs.browser.find import find_chromium; find_chromium()' 2>/dev/null
