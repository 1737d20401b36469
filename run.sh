#!/usr/bin/env bash
# The whole story of tempme_jax, from an empty machine on:
#
#   bash run.sh                                        all of it, on the built-in data (minutes)
#   bash run.sh --config=configs/msrvtt.py:tempme ...  train and evaluate on data of your own
#   bash run.sh index                                  make sample videos, and index them for search
#   bash run.sh index FOLDER ...                       index your own; more words go to tempme index
#   bash run.sh setup                                  only make the environment (.venv)
#   bash run.sh test                                   run the fast tests; more words go to pytest
#
# PYTHON=python3.12 bash run.sh takes another Python (3.11 or later). What was done before is not
# done again, and what was interrupted goes on.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"

# The environment: the active one, or .venv, made once and brought up to date when what is needed
# has changed. Its argument is what to install: "." to use tempme_jax, ".[test]" to test it, too.
setup() {
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        PATH="$VIRTUAL_ENV/bin:$PATH"
        if ! command -v tempme > /dev/null || { [ "$1" != . ] && ! python -c 'import pytest, xdist, nbclient'; }; then
            python -m pip install --quiet --editable "$1"
        fi
        return
    fi
    local python=${PYTHON:-python3} ready=.venv/ready${1#.}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "tempme_jax needs Python 3.11 or later; $python is $("$python" --version 2>&1)." >&2
        echo "Name another one: PYTHON=python3.12 bash run.sh" >&2
        exit 1
    fi
    if [ ! -f "$ready" ] || [ requirements.txt -nt "$ready" ] || [ pyproject.toml -nt "$ready" ]; then
        [ -x .venv/bin/python ] || "$python" -m venv .venv
        echo "Installing into .venv (about 1.5 GB, a minute or two) ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$1"
        touch "$ready"
    fi
    PATH="$PWD/.venv/bin:$PATH"
}

# The main job on the built-in set: short videos of moving shapes, in which the order matters. Its
# arguments are settings of all that follows, such as --config.train.steps=50.
story() {
    local config=configs/moving_shapes.py workdir=${WORKDIR:-workdir/story}

    # Data: 1,152 videos are rendered, decoded once, and stored as frames.
    tempme data prepare $config "$@"

    # CLIP as it was pretrained, on single frames: it finds at best every second video.
    python -m tempme_jax.main --config=$config:clip --evaluate_only --workdir="$workdir/clip" "$@"

    # TempMe: LoRA and clip positions are trained, tokens merge; the best checkpoint is evaluated.
    python -m tempme_jax.main --config=$config:tempme --workdir="$workdir/tempme" "$@"

    # Both in one table. The model opens with tempme_jax.load("workdir/story/tempme").
    tempme results "$workdir/clip" "$workdir/tempme"
}

# Videos to search in: without arguments samples, with a model that was trained for them; else those
# of a folder, with options of tempme index. Paths are meant from where run.sh was started.
searchable() {
    if [ $# = 0 ]; then
        echo "Writing sample videos to data/samples ..."
        tempme data samples data/samples > /dev/null
        tempme index data/samples --model tiny-tempme
        echo 'The samples answer such as: "a red circle moves right then up"'
    else
        (cd "$here" && tempme index "$@")
    fi
    [ -n "${VIRTUAL_ENV:-}" ] || printf 'The command tempme: . %q\n' "$PWD/.venv/bin/activate"
}

case "${1:-}" in
    "" | story)
        setup .
        story "${@:2}"
        ;;
    --config*)
        setup .
        python -m tempme_jax.main "$@"
        ;;
    index)
        setup .
        searchable "${@:2}"
        ;;
    setup)
        setup .
        echo "Ready: . .venv/bin/activate, then: tempme --help"
        ;;
    test)
        setup '.[test]'
        python -m pytest -n 2 --dist loadfile "${@:2}"
        ;;
    *)
        sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'
        case "$1" in -h | --help) ;; *) echo "There is no '$1'." >&2; exit 2 ;; esac
        ;;
esac
