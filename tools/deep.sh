#!/bin/sh
# Long runs that CI has no time for: seeded lives of orders, with a dated report in docs/reports/.
#
#   make deep                       10,000 lives on 2 processes (about 2 h)
#   make deep LIVES=500 JOBS=1      fewer, on one
#   make deep MINUTES=30            as many as half an hour allows; the report says how many ran
#   make deep FIRST=20000           other seeds
set -eu
BIN="${1:?usage: sh tools/deep.sh <folder of the venv's programs>}"
set -- --lives "${LIVES:-10000}" --first "${FIRST:-0}" --jobs "${JOBS:-2}" --report docs/reports/order-lives.md
[ -z "${MINUTES:-}" ] || set -- "$@" --minutes "$MINUTES"
exec "$BIN/python" -m simulators.order_lives "$@"
