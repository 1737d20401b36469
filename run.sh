#!/usr/bin/env bash
# Everything from an empty machine on:
#
#   bash run.sh                                        the whole story on the built-in data (minutes)
#   bash run.sh --config=configs/msrvtt.py:tempme ...  train and evaluate on a data set
#   bash run.sh index                                  make sample videos and index them for search
#   bash run.sh index FOLDER ...                       index your own videos
#   bash run.sh search WORDS ... --index FOLDER        search in them
#   bash run.sh serve FOLDER                           search in them in a browser
#   bash run.sh stats FOLDER                           say what is indexed
#   bash run.sh duplicates FOLDER                      list videos that show the same
#   bash run.sh watch FOLDER                           index what comes
#   bash run.sh mcp FOLDER                             let an assistant search in them
#   bash run.sh download                               get OpenAI's weights before they are needed
#   bash run.sh doctor                                 say what works on this machine
#   bash run.sh setup                                  only make the environment (.venv)
#   bash run.sh test                                   run the fast tests
#   bash run.sh check                                  run all other checks: format, types, site, wheel
#
# Each of them first makes the environment, if there is none. Options are those of pytest and of the
# command tempme, which does the work. PYTHON=python3.12 bash run.sh takes another Python (3.11 or
# later). Finished work is not repeated, and an interrupted run resumes.
set -euo pipefail
here=$PWD
cd "$(dirname "$0")"

# Activate an environment: the active one, or .venv, which is made once and updated when
# requirements.txt or pyproject.toml has changed. The argument is what to install: "." to use
# tempme_jax, ".[test]" to test it, ".[dev]" to check it.
setup() {
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        PATH="$VIRTUAL_ENV/bin:$PATH"
        local needed
        case "$1" in *test*) needed=pytest,xdist,nbclient ;; *dev*) needed=importlinter,mkdocs,pyright ;; esac
        if ! command -v tempme > /dev/null || ! python -c "${needed:+import $needed}"; then
            python -m pip install --quiet --editable "$1"
        fi
        return
    fi
    local python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "tempme_jax needs Python 3.11 or later; $python is $("$python" --version 2>&1)." >&2
        echo "Name another one: PYTHON=python3.12 bash run.sh" >&2
        exit 1
    fi
    if ! is_installed "$1" && ! is_installed '.[dev]'; then  # [dev] holds all the others
        [ -x .venv/bin/python ] || "$python" -m venv .venv
        echo "Installing into .venv (about 1.5 GB, a minute or two) ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$1"
        touch ".venv/ready${1#.}"
    fi
    PATH="$PWD/.venv/bin:$PATH"
}

is_installed() {
    local ready=.venv/ready${1#.}
    [ -f "$ready" ] && [ ! requirements.txt -nt "$ready" ] && [ ! pyproject.toml -nt "$ready" ]
}

# Train on the built-in set: short videos of moving shapes, in which the order matters. The
# arguments are settings for every command below, such as --config.train.steps=50.
story() {
    local config=configs/moving_shapes.py workdir=${WORKDIR:-workdir/story}

    # Data: 1,152 videos are rendered and decoded once; their frames are stored.
    tempme data prepare $config "$@"

    # CLIP as it was pretrained. It ignores the order of frames, so it can only guess between a video
    # and its reverse: about 50 % R@1.
    python -m tempme_jax.main --config=$config:clip --evaluate_only --workdir="$workdir/clip" "$@"

    # TempMe: train LoRA and the clip positions while tokens merge, then evaluate the best checkpoint.
    python -m tempme_jax.main --config=$config:tempme --workdir="$workdir/tempme" "$@"

    # Both in one table. tempme_jax.load("workdir/story/tempme") opens the trained model.
    tempme results "$workdir/clip" "$workdir/tempme"
}

# Make sample videos and index them, with a model that was trained for them.
index_samples() {
    echo "Writing sample videos to data/samples ..."
    tempme data samples data/samples > /dev/null
    tempme index data/samples --model tiny-tempme
    echo "It finds: ${TEMPME_PROGRAM:-tempme} search a red circle moves right then up --index data/samples"
}

# Run a command of tempme. Paths are relative to the folder in which run.sh was started. Without an
# active environment, what it says to type next is "bash run.sh ..." (TEMPME_PROGRAM).
run_tempme() {
    [ -n "${VIRTUAL_ENV:-}" ] || export TEMPME_PROGRAM="bash $0"
    if [ "$*" = index ]; then
        index_samples
    else
        cd "$here"
        tempme "$@"
    fi
}

case "${1:-}" in
    "" | story)
        setup '.[all]'
        story "${@:2}"
        ;;
    --config*)
        setup '.[all]'
        python -m tempme_jax.main "$@"
        ;;
    index | search | serve | stats | watch | duplicates | mcp | download | doctor)
        setup '.[all]'
        run_tempme "$@"
        ;;
    setup)
        setup '.[all]'
        echo "Ready: . .venv/bin/activate, then: tempme --help"
        ;;
    test)
        setup '.[test]'
        python -m pytest -n 2 --dist loadfile "${@:2}"
        ;;
    check)
        setup '.[dev]'
        bash .ci/check
        ;;
    *)
        sed -n '/^set -e/q; 2,$s/^# \{0,1\}//p' "$0"
        case "$1" in -h | --help) exit ;; esac
        echo "There is no '$1' here; bash run.sh setup, then tempme --help, lists all." >&2
        exit 2
        ;;
esac
