#!/bin/sh
# One job of a pipeline: compresses by a recipe, and compares with the figures that were accepted before.
#
# usage: compress.sh RECIPE BASELINE OUTPUT [THRESHOLD ...]
#   BASELINE   the report.json of the accepted run, kept in the repository; where there is none yet, nothing is compared
#   OUTPUT     folder for model, reports and summary.md
#   THRESHOLD  options of `edgecompress compare`; without any, those below
#
# Exit codes are edgecompress's own: 0 all is well, 7 a gate of the recipe or a threshold is not met (model, reports and
# summary are written all the same), anything else a failure, told on standard error.
# EDGECOMPRESS names the binary where it is not on the PATH. The summary goes to GITHUB_STEP_SUMMARY too, if that is set.
set -u

if [ $# -lt 3 ]; then
  echo "usage: $0 RECIPE BASELINE OUTPUT [THRESHOLD ...]" >&2
  exit 2
fi
recipe=$1 baseline=$2 output=$3
shift 3
[ $# -gt 0 ] || set -- --max-accuracy-drop 0.005 --max-size-growth 0.02 --max-slowdown 0.10
edgecompress=${EDGECOMPRESS:-edgecompress}
gate=7

"$edgecompress" run "$recipe" --output "$output"
run=$?
[ $run -eq 0 ] || [ $run -eq $gate ] || exit $run

if [ ! -f "$baseline" ]; then
  echo "There is no $baseline to compare with; to accept this run: cp $output/report.json $baseline" >"$output/summary.md"
  compared=0
else
  "$edgecompress" compare "$baseline" "$output/report.json" "$@" --markdown >"$output/summary.md"
  compared=$?
  [ $compared -eq 0 ] || [ $compared -eq $gate ] || exit $compared
fi
[ $run -eq 0 ] || printf '\nA gate of the recipe was not met; see report.md.\n' >>"$output/summary.md"
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || cat "$output/summary.md" >>"$GITHUB_STEP_SUMMARY"
cat "$output/summary.md"
[ $run -eq 0 ] || exit $run
exit $compared
