# For other scripts (`source`): packages from apt.

# Fills the array `missing` anew by the function `look` of the script, after apt has installed what is in it, when that can be done.
install_missing() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
  echo "== apt-get install ${missing[*]}"
  # The packages of a failed installation are still looked for: one that is missing need not keep the others away.
  apt-get -qq update || echo "apt-get update failed, see above" >&2
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null \
    || echo "apt-get install failed, see above" >&2
  hash -r
  look
}
