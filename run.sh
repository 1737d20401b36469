#!/usr/bin/env bash
# The whole story of tempme_jax, from an empty machine on:
#
#   bash run.sh setup     make the environment (.venv) and install what is needed
#   bash run.sh test      the same, then run the fast tests; more words go to pytest
#
# PYTHON=python3.12 bash run.sh setup   takes another Python (3.11 or later).
set -euo pipefail
cd "$(dirname "$0")"

# The environment: made once, and brought up to date when what is needed has changed.
setup() {
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "tempme_jax needs Python 3.11 or later; $python is $("$python" --version 2>&1)." >&2
        echo "Name another one: PYTHON=python3.12 bash run.sh $*" >&2
        exit 1
    fi
    if [ ! -f .venv/ready ] || [ requirements.txt -nt .venv/ready ] || [ pyproject.toml -nt .venv/ready ]; then
        [ -x .venv/bin/python ] || "$python" -m venv .venv
        echo "Installing into .venv (about 1 GB, a minute or two) ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
        touch .venv/ready
    fi
}

case "${1:-}" in
    setup)
        setup "$@"
        echo "Ready: . .venv/bin/activate, then: tempme --help"
        ;;
    test)
        setup "$@"
        .venv/bin/python -m pytest -n 2 "${@:2}"
        ;;
    *)
        sed -n '2,7p' "$0" | sed 's/^# \{0,1\}//'
        [ $# -eq 0 ] || { echo "There is no '$1'." >&2; exit 2; }
        ;;
esac
