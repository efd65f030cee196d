#!/bin/sh
# Long runs that CI has no time for; each writes a dated report into docs/reports/.
#
#   make deep                       mutants of what decides over a lock (about 40 min), then 10,000 lives (half an hour)
#   make deep PART=lives            only the lives         PART=mutants   only the mutants
#   make deep LIVES=500 JOBS=1      fewer lives, in one process
#   make deep MINUTES=30            as many as half an hour allows; the report says how many ran
#   make deep FIRST=20000           other seeds
set -eu
BIN="${1:?usage: sh tools/deep.sh <folder of the venv's programs>}"
PART="${PART:-all}"
case "$PART" in all | lives | mutants) ;; *)
  echo "PART is all, lives or mutants, not $PART" >&2
  exit 2
  ;;
esac
failed=0
# A mutant that survives without a reason fails the run; the lives run all the same.
if [ "$PART" != lives ]; then "$BIN/python" tools/mutate.py || failed=1; fi
if [ "$PART" != mutants ]; then
  set -- --lives "${LIVES:-10000}" --first "${FIRST:-0}" --jobs "${JOBS:-2}" --report docs/reports/order-lives.md
  [ -z "${MINUTES:-}" ] || set -- "$@" --minutes "$MINUTES"
  "$BIN/python" -m simulators.order_lives "$@" || failed=1
fi
exit "$failed"
