#!/usr/bin/env bash
# All twelve rungs from random weights, then the ladder without rungs 1 to 7, and whether the lower rungs have helped.
# Interrupt it whenever you like; the same command goes on. What follows is handed to both ladders, such as --set seed=1.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${OUTPUT:-runs/ladder}
make setup
.venv/bin/stepladder ladder --output "$output" "$@"
.venv/bin/stepladder ladder --output "$output-short" \
  --without core,continued,lengthening,annealing,instruction,preference,reasoning "$@"
.venv/bin/stepladder compare "$output-short/measures/refinement/pages" "$output/measures/refinement/pages" \
  --html "$output/with-and-without-rungs-1-to-7.html"
