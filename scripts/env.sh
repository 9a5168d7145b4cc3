# Makes .venv, or renews it when what it was made from has changed; then does nothing.
#
# Usage, from the repository's root (a sourced file gets no arguments from dash):
#   EXTRA=test; . scripts/env.sh
#
# PYTHON       the interpreter to build on (default: python3.11, else python3)
# TORCH_INDEX  a package index to take torch from, for instance PyTorch's index of CPU builds;
#              everything else comes from where pip is configured to look

if [ -z "${PYTHON:-}" ]; then
  if command -v python3.11 >/dev/null 2>&1; then PYTHON=python3.11; else PYTHON=python3; fi
fi
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Python 3.11 or newer is needed; name it in PYTHON." >&2
  exit 1
}

# An environment holds absolute paths and one interpreter, so those count as well.
origin="$(pwd) $("$PYTHON" -c 'import sys; print(sys.version)')"
wanted="$(echo "$origin" | cat - pyproject.toml constraints.txt | cksum)"
stamp=".venv/.made-for-$EXTRA"

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
  if [ "$(cat .venv/.origin 2>/dev/null)" != "$origin" ]; then
    echo "Making .venv ..." >&2
    # Some systems ship venv without the pip to put into it; then the system's own pip helps.
    "$PYTHON" -m venv --clear .venv >/dev/null 2>&1 || {
      "$PYTHON" -m venv --clear --without-pip .venv
      "$PYTHON" -m pip --python .venv/bin/python install -q pip
    }
    echo "$origin" > .venv/.origin
  fi
  echo "Installing what '$EXTRA' needs (a minute or two the first time) ..." >&2
  if [ -n "${TORCH_INDEX:-}" ]; then
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-warn-script-location \
      --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
  fi
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-warn-script-location \
    -c constraints.txt -e ".[$EXTRA]"
  echo "$wanted" > "$stamp"
fi
