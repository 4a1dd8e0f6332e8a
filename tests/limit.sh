#!/usr/bin/env bash
# Runs a test binary for cargo. A test that takes longer than its limit fails by its name, and so
# does the binary.
#
#   cargo test --config 'target."cfg(all())".runner = "tests/limit.sh"'
#
# The test harness names a test on its own thread once it has run for 60 seconds, and with one test
# thread before it runs. From then on this script counts. A binary without a harness (a doctest) is
# limited as a whole; rustdoc names it. KVWATCH_TEST_LIMIT changes the limit, in seconds.
set -u

limit=${KVWATCH_TEST_LIMIT:-1200}
# What the harness says once a test has run this long.
named_after=60

declare -A deadlines=() # of the tests that the harness has named
harness=no
line= # the last line, while it is incomplete

fail() {
  printf '\ntest %s ... FAILED: it did not end within %s seconds\n' "$1" "$limit"
  # First the processes that the test has started.
  cat /proc/"$pid"/task/*/children 2>/dev/null | xargs -r kill -KILL 2>/dev/null
  kill -KILL "$pid" 2>/dev/null
  exit 124
}

# Reads one line of the harness.
note() {
  case $1 in
    'running '*' test'*) harness=yes ;;
    'test '*' has been running for over '*' seconds')
      name=${1#test }
      name=${name% has been running for over *}
      deadlines[$name]=$((SECONDS + limit - named_after))
      ;;
    'test '*' ... '*)
      name=${1#test }
      unset "deadlines[${name% ... *}]"
      ;;
  esac
}

exec {output}< <(exec "$@")
pid=$!

while true; do
  if IFS= read -r -t 1 -u "$output" part; then
    printf '%s\n' "${part}"
    note "$line$part"
    line=
  elif [ $? -gt 128 ]; then
    # Nothing for a second. A part of a line is shown at once.
    if [ -n "$part" ]; then
      printf '%s' "$part"
      line=$line$part
      case $line in
        'test '*' ... ')
          name=${line#test }
          name=${name% ... }
          deadlines[$name]=${deadlines[$name]:-$((SECONDS + limit))}
          ;;
      esac
    fi
  else
    printf '%s' "$part"
    break
  fi
  for name in "${!deadlines[@]}"; do
    [ "$SECONDS" -lt "${deadlines[$name]}" ] || fail "$name"
  done
  if [ $harness = no ] && [ "$SECONDS" -ge "$limit" ]; then fail "$(basename "$1")"; fi
done

wait "$pid"
