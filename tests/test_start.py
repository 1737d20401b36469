"""docs/start.md leads from a clone to a hit in five commands, and its other commands work, too."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import click.testing
import pytest
from documents import read_blocks, read_commands, stand_in, write_black_video
from repository import ROOT

from tempme_jax.cli import main
from tempme_jax.weights.hub import BUILT_IN

PAGE = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
SCRIPT = read_blocks(PAGE, "bash")[0]
FIVE = read_commands(SCRIPT.join(["```bash\n", "```"]))
# A clone holds what is committed, and the environment what is being worked on; so run.sh is copied.
GIT = f"""#!/bin/sh
[ "$1 $2" = "clone ADDRESS" ] && mkdir "$3" && cp "{ROOT}/run.sh" "$3"
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_five_commands_lead_to_a_hit(tmp_path, monkeypatch):
    """Without the clone; run.sh passes them on to tempme, as test_run_sh.py sees."""
    clone, cd, *commands = FIVE
    assert (clone, cd) == ("git clone ADDRESS tempme_jax", "cd tempme_jax")
    words = [command.split() for command in commands]
    assert [each[:3] for each in words] == [
        ["bash", "run.sh", name] for name in ("index", "search", "serve")
    ]
    write_black_video(tmp_path / "videos" / "lake.mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stand_in(monkeypatch)
    served = []
    serve = "tempme_jax.search.serve.server.serve"
    monkeypatch.setattr(serve, lambda index, **options: served.append((index.uri, options)))
    outputs = []
    for each in words:
        result = click.testing.CliRunner().invoke(main, list(map(os.path.expanduser, each[2:])))
        assert result.exit_code == 0, result.output
        outputs.append(result.output)
    assert "1 video indexed" in outputs[0]
    assert "videos/lake.mp4" in outputs[1]
    [(uri, options)] = served
    assert uri == str(tmp_path / "videos" / ".tempme") and options["browse"]


@pytest.mark.slow
def test_a_newcomer_pastes_them(tmp_path):
    """As one script, in an empty home; the weights are small ones, at the place for them."""
    home, programs = tmp_path / "home", tmp_path / "programs"
    write_black_video(home / "videos" / "lake.mp4")
    place = home / ".cache/tempme_jax/weights/openai/clip-vit-base-patch32/model.safetensors"
    place.parent.mkdir(parents=True)
    shutil.copy(str(BUILT_IN["tiny-tempme"]), place)
    programs.mkdir()
    (programs / "git").write_text(GIT)
    (programs / "git").chmod(0o755)
    environment = os.environ | {
        "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix,
        "BROWSER": "true", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }  # fmt: skip
    environment.pop("XDG_CACHE_HOME", None)
    assert SCRIPT.rstrip().endswith("serve ~/videos --open")
    script = SCRIPT.rstrip() + " --port 0"
    with subprocess.Popen(
        ["bash", "-e"], cwd=tmp_path, env=environment, text=True, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as shell:  # fmt: skip
        shell.stdin.write(script)
        shell.stdin.close()
        lines = []
        for line in shell.stdout:
            lines.append(line)
            if line.startswith("Open http://127.0.0.1:"):
                os.killpg(shell.pid, 2)
    told = "".join(lines)
    assert "1 video indexed" in told and re.search(r"1 +\S*videos/lake.mp4", told), told
    assert "Open http://127.0.0.1:" in told


def test_the_other_commands_are_known():
    """Those of the samples and the setup are in the README, where they are run."""
    readme = set(read_commands((ROOT / "README.md").read_text(encoding="utf-8")))
    others = [command for command in read_commands(PAGE) if command not in FIVE]
    assert {each.replace("bash run.sh search", "tempme search") for each in others} <= readme
    for command in re.findall(r"`(tempme [^`]+)`", PAGE):
        name, *words = shlex.split(command)[1:]
        if name != name.upper() and words:
            context = main.commands[name].make_context(name, [w.lower() for w in words])
            assert context.params
