#!/usr/bin/env bash
# Sees to it that desktops can be started: install_desktop.sh [base|applications|osworld]
# "base" is what every pocket desktop consists of; "applications" adds those that the task set `desk` is played with, and OSWorld's
# dock; "osworld" adds what OSWorld's tasks use beside them. As root on Debian and Ubuntu all come from apt; elsewhere this says what
# to install.
set -euo pipefail
source "$(dirname "$0")/apt_packages.sh"
wanted=${1:-applications}
case $wanted in
  base | applications | osworld) ;;
  *)
    echo "install_desktop.sh: '$wanted' is not known; there are base, applications, osworld" >&2
    exit 2
    ;;
esac

# Each line: a program or file that shows that a package is here, the package.
base="Xvfb xvfb
openbox openbox
bwrap bubblewrap
dbus-daemon dbus
/usr/libexec/at-spi-bus-launcher at-spi2-core
/usr/bin/python3 python3-minimal
prlimit util-linux
/usr/share/icons/Adwaita/index.theme adwaita-icon-theme
/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf fonts-dejavu-core"
applications="mousepad mousepad
thunar thunar
pcmanfm pcmanfm
galculator galculator
xterm xterm
localc libreoffice-calc
lowriter libreoffice-writer
loimpress libreoffice-impress
/usr/lib/libreoffice/program/libvclplug_gtk3lo.so libreoffice-gtk3
chromium chromium
xdg-mime xdg-utils
vlc vlc
x11vnc x11vnc
tint2 tint2"
# gtk2-engines-pixbuf draws GIMP's themes.
osworld="gimp gimp
/usr/share/doc/gtk2-engines-pixbuf gtk2-engines-pixbuf
thunderbird thunderbird
nautilus nautilus
gnome-terminal gnome-terminal
wmctrl wmctrl
xsel xsel
pulseaudio pulseaudio
pactl pulseaudio-utils
pavucontrol pavucontrol"

# Fills the array `missing` with the packages that are not here.
look() {
  missing=()
  local list=$base
  [ "$wanted" = base ] || list+=$'\n'"$applications"
  [ "$wanted" != osworld ] || list+=$'\n'"$osworld"
  while read -r sign package; do
    case $sign in
      /*) [ -e "$sign" ] || missing+=("$package") ;;
      *) command -v "$sign" >/dev/null || missing+=("$package") ;;
    esac
  done <<<"$list"
}

look
[ ${#missing[@]} -gt 0 ] || exit 0
install_missing
[ ${#missing[@]} -gt 0 ] || exit 0
echo "Please install: ${missing[*]}"
echo "  Debian and Ubuntu:  sudo apt-get install ${missing[*]}"
exit 1
