#!/usr/bin/env bash
# Reads the suites of Arrow and Parquet with `pipe` and compares each file with what pyarrow reads: equal, refused with
# its reason, or differs. A panic, a call of more than 5 s or more memory than `memory:` fails the run, as does a file
# that differs. The suites are not part of this repository:
#
#   git clone https://github.com/apache/arrow-testing
#   git clone https://github.com/apache/parquet-testing
#   python3 -m venv venv && venv/bin/pip install pyarrow
#   PYTHON=venv/bin/python scripts/suites.sh arrow-testing parquet-testing > table
set -euo pipefail
if [ $# -lt 1 ]; then
  sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")/.." && pwd)
pipe=${PIPE_BIN:-${CARGO_TARGET_DIR:-$here/target}/debug/pipe}
exec "${PYTHON:-python3}" "$here/tests/suites/suites.py" "$pipe" "$@"
