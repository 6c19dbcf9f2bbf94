#!/bin/sh
# Runs OpenAI's, Anthropic's and Google's SDKs, in Python and JavaScript, and the AI SDK against the binary: $ROUTERLY_BIN,
# or the debug build. Where there are recordings of providers, each SDK reads them too, as the provider's own one does.
# What they need is installed into the checkout once: Python packages into .venv, the others into js/node_modules.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=${ROUTERLY_BIN:-$root/target/debug/routerly}
[ -x "$binary" ] || { echo "$binary is not there: cargo build" >&2; exit 1; }

# up_to_date STAMP FILE...: whether the stamp was made from these very files.
up_to_date() {
  stamp=$1
  shift
  [ -f "$stamp" ] && [ "$(cat "$@" | sha256sum)" = "$(cat "$stamp")" ]
}

python=$root/.venv/bin/python
stamp=$root/.venv/sdk-tests.stamp
if ! up_to_date "$stamp" "$here/python/requirements.txt" "$here/python/lock.txt"; then
  [ -x "$python" ] || python3 -m venv "$root/.venv"
  "$python" -m pip install --quiet --disable-pip-version-check -r "$here/python/requirements.txt"
  cat "$here/python/requirements.txt" "$here/python/lock.txt" | sha256sum > "$stamp"
fi

stamp=$here/js/node_modules/.sdk-tests.stamp
if ! up_to_date "$stamp" "$here/js/package.json" "$here/js/package-lock.json"; then
  (cd "$here/js" && npm ci --silent --no-audit --no-fund)
  cat "$here/js/package.json" "$here/js/package-lock.json" | sha256sum > "$stamp"
fi

status=0
ROUTERLY_BIN=$binary PYTHONDONTWRITEBYTECODE=1 "$python" -m pytest -c "$here/python/pytest.ini" "$here/python" || status=1
(cd "$here/js" && ROUTERLY_BIN=$binary node --test --test-reporter=spec) || status=1
exit $status
