#!/usr/bin/env bash
# Sees to it that there is a browser: install_chromium.sh PYTHON shell|full|driver
# "shell" is the headless shell that environments run in, with its fonts; "full" adds Chromium itself, which the tests of the
# slower fallback need; "driver" adds its WebDriver too, through which the benchmark drives the Gymnasium environment. As root on
# Debian all come from apt; elsewhere this says what to install.
set -euo pipefail
source "$(dirname "$0")/apt_packages.sh"
python=$1
wanted=$2

# The path of the browser that environments find, or on stderr why they find none.
find_browser() {
  "$python" - <<'CODE'
import sys
from stepladder.envs.browser.find import ChromiumNotFound, find_chromium
try:
    print(find_chromium())
except ChromiumNotFound as error:
    sys.exit(str(error))
CODE
}

# Fills the array `missing` with the Debian packages that are not here.
look() {
  missing=()
  if ! find_browser >/dev/null 2>&1; then  # the last line of this file tells the reason, if it is still so then
    missing+=(chromium-headless-shell)
  fi
  if command -v dpkg >/dev/null && ! dpkg -s fonts-liberation >/dev/null 2>&1; then
    missing+=(fonts-liberation)
  fi
  if [ "$wanted" != shell ] && ! command -v chromium >/dev/null && ! command -v google-chrome >/dev/null; then
    missing+=(chromium)
  fi
  if [ "$wanted" = driver ] && ! command -v chromedriver >/dev/null; then
    missing+=(chromium-driver)
  fi
}

look
[ ${#missing[@]} -gt 0 ] || exit 0

install_missing
[ ${#missing[@]} -gt 0 ] || exit 0
echo "Please install: ${missing[*]}"
echo "  Debian:             sudo apt-get install ${missing[*]}"
echo "  Ubuntu and others:  $python -m pip install playwright && $python -m playwright install --with-deps chromium chromium-headless-shell"
echo "                      (fonts: the package fonts-liberation, or liberation-fonts)"
echo "  or set STEPLADDER_CHROMIUM to the path of a Chromium, Chrome or headless shell binary"
# Fonts only change how pages look, and what is there beside the shell only what can be compared; no browser at all is a stop.
find_browser >/dev/null
