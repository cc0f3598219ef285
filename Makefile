# Each target sets up what it needs. The environment lives in .venv: made by uv when it is on PATH, else by venv and pip.
SCALE ?= smoke
ARGS ?=
WORKERS ?= 2
README ?= README.md
ifndef PYTHON
PYTHON := $(shell for p in python3.11 python3 python; do \
  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null </dev/null; then echo $$p; break; fi; done)
endif
BIN := .venv/bin

# OpenMP threads that wait must sleep: otherwise a busy neighbour slows a training several-fold. And glibc keeps big
# blocks instead of giving them back to the system after each batch: fewer page faults, about 10 % faster on a CPU.
OMP_WAIT_POLICY ?= PASSIVE
MALLOC_MMAP_THRESHOLD_ ?= 4294967296
MALLOC_TRIM_THRESHOLD_ ?= 8589934592
export OMP_WAIT_POLICY MALLOC_MMAP_THRESHOLD_ MALLOC_TRIM_THRESHOLD_
export PIP_NO_INPUT = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup reproduce test bench gpu chaos faults slurm browser zoo lab site readme papers export lock clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

# .venv/.ready holds the folder and a checksum of what was installed. It is taken away before anything is changed and
# comes back when all is done, so an environment that was broken off is made anew; so is one whose folder was moved.
define SETUP
set -eu
exec </dev/null 9>.setup.lock
if command -v flock >/dev/null; then flock 9; fi
sum=$$(cat requirements.lock settings.ini setup.py | cksum)
works() { $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
same_place() { [ "$$(head -n 1 .venv/.ready 2>/dev/null)" = "$$(pwd)" ] && works; }
if same_place && [ "$$(tail -n 1 .venv/.ready)" = "$$sum" ]; then echo "setup: .venv is up to date"; exit 0; fi
uv=$$(command -v uv || true)
if same_place && { [ -n "$$uv" ] || $(BIN)/python -m pip --version >/dev/null 2>&1; }; then
  echo "setup: requirements.lock, settings.ini or setup.py has changed, renewing .venv"
  rm .venv/.ready
else
  if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: Python 3.11 or newer is needed; found $$($(or $(PYTHON),python3) --version 2>/dev/null || echo none)." >&2
    echo "       Install it, or name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
  fi
  echo "setup: making .venv with $$($(PYTHON) --version) and $${uv:-pip}, this takes minutes"
  rm -rf .venv
  if [ -n "$$uv" ]; then uv venv --quiet --python "$$(command -v $(PYTHON))" .venv; else $(PYTHON) -m venv .venv; fi
fi
if [ -n "$$uv" ]; then install="uv pip install --python $(BIN)/python"; else install="$(BIN)/python -m pip install"; fi
$$install --no-deps -r requirements.lock
$$install --no-deps --no-build-isolation --force-reinstall -e .
printf '%s\n' "$$(pwd)" "$$sum" >.venv/.ready
echo "setup: done"
endef

setup: export SCRIPT = $(SETUP)
setup:  ## make or renew .venv; does nothing when it is up to date
	@sh -c "$$SCRIPT"

reproduce: setup  ## every table and figure: SCALE=smoke (default), lite or paper; ARGS for more options of kd-repro run
	@$(BIN)/kd-repro run --scale $(SCALE) $(ARGS)

# One process for each notebook: what one of them registers or breaks must not reach the next. Each is forked from one
# that has imported torch and the notebook tools, and nothing of kd_repro: that saves seconds of each.
# A notebook with a cell tagged "parameters" is a table or figure: kd-repro runs it, not this.
define TEST
import argparse, os, signal, sys, tempfile, time
from pathlib import Path

import matplotlib.pyplot, scipy.stats, seaborn, torch, torchvision
import torch._dynamo, torch.fx
from nbdev.config import get_config
from nbdev.test import test_nb

parser = argparse.ArgumentParser(prog="make test ARGS=...")
parser.add_argument("--flags", default="", help="run the cells of these nbdev flags too, for example slow")
parser.add_argument("workers", type=int)
given = parser.parse_args()
notebooks = [path for path in sorted(Path("nbs").rglob("*.ipynb"), reverse=True) if "/." not in path.as_posix()]  # long ones first
waiting = [path for path in notebooks if '"parameters"' not in path.read_text("utf-8")]
running, failed, total = {}, 0, len(waiting)
PASSED = 100  # not 0, with which a cell can end its process too

def test(path, out):
    for stream in (1, 2):
        os.dup2(out.fileno(), stream)
    ok = False
    try:
        ok = test_nb(path.absolute(), get_config().tst_flags.split(), given.flags.split(), basepath=get_config().config_path)[0]
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(PASSED if ok else 1)

while waiting or running:
    while waiting and len(running) < given.workers:
        path, out, start = waiting.pop(0), tempfile.TemporaryFile(), time.monotonic()
        pid = os.fork()
        if pid == 0:
            test(path, out)
        running[pid] = path, out, start
    pid, status = os.wait()
    if pid in running:
        path, out, start = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        if code == PASSED:
            print(f"passed {path} ({time.monotonic() - start:.0f} s)", flush=True)
        else:
            failed += 1
            out.seek(0)
            print(out.read().decode(errors="replace"), end="")
            print(f"FAILED {path}" + (f", ended by {signal.Signals(-code).name}" if code < 0 else ""), flush=True)
print(f"{total - failed} passed, {failed} failed")
sys.exit(failed > 0 or total == 0)
endef

test: export SCRIPT = $(TEST)
test: setup  ## ruff, then all component notebooks as tests, WORKERS=2 at once; ARGS='--flags slow' adds the slow cells
	@$(BIN)/ruff check --quiet --no-cache .
	@OMP_NUM_THREADS=1 $(BIN)/python -c "$$SCRIPT" $(WORKERS) $(ARGS) </dev/null

# Notebooks that make no table: ARGS='rounds=3' gives parameters. The executed notebook stays in figures/studies/notebooks.
# One that is committed with outputs gets those of a run without ARGS.
define STUDY
import ast, subprocess, sys
from pathlib import Path
import nbformat
from kd_repro.core import atomic_write
from kd_repro.runner import check_parameters, execute
path, *given = sys.argv[1:]
def value(text):
    try: return ast.literal_eval(text)
    except (ValueError, SyntaxError): return text  # a shell has taken the quotes

given = {k: value(v) for k, _, v in (word.partition("=") for word in given)}
try: check_parameters(path, given)
except ValueError as error: sys.exit(f"Error: {error}")
out = Path("figures/studies/notebooks", Path(path).name)
execute(path, out, given)
if not given and any(cell.get("outputs") for cell in nbformat.read(path, 4).cells):
    atomic_write(path, out.read_bytes())
    subprocess.run([Path(sys.executable).with_name("nbdev_clean"), "--fname", path], check=True)
endef

bench gpu chaos faults slurm browser zoo: export SCRIPT = $(STUDY)
bench: setup  ## how fast: our loop beside the public codes' way and torchdistill (which it installs beside .venv)
	@[ -d .venv/bench ] || if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python --no-deps --target .venv/bench torchdistill==1.1.5; \
	else $(BIN)/python -m pip install --quiet --no-deps --target .venv/bench torchdistill==1.1.5; fi
	@PYTHONPATH=$$(pwd)/.venv/bench $(BIN)/python -c "$$SCRIPT" nbs/studies/speed.ipynb $(ARGS)

gpu: setup  ## what a GPU computes and how fast, then the flow table at the papers' scale, in 10 minutes; again to go on
	@case "$(ARGS)" in *small=True*) ;; *) $(BIN)/nbdev_test --path nbs/checks/device.ipynb;; esac  # on a CPU make test runs it
	@$(BIN)/python -c "$$SCRIPT" nbs/checks/gpu.ipynb $(ARGS)

chaos: setup  ## what a run survives: 20 times killed, on a disk that fails, with a clock set back, ..., and run again
	@$(BIN)/python -c "$$SCRIPT" nbs/checks/chaos.ipynb $(ARGS)

faults: setup  ## what a user is told: full disk, killed kernel, changed record, ...
	@$(BIN)/python -c "$$SCRIPT" nbs/checks/faults.ipynb $(ARGS)

slurm: setup  ## the smoke reproduction through a Slurm of this one machine (root; slurm-wlm and munge)
	@$(BIN)/python -c "$$SCRIPT" nbs/checks/slurm.ipynb $(ARGS)

browser: site  ## the site and JupyterLab in a real browser: links, figures, Run All (Chromium)
	@$(BIN)/python -c "$$SCRIPT" nbs/checks/browser.ipynb $(ARGS)

zoo: setup  ## forty networks of torchvision and timm through distill, beside a plain loop (installs timm beside .venv)
	@[ -d .venv/zoo ] || if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python --no-deps --target .venv/zoo timm==1.0.31; \
	else $(BIN)/python -m pip install --quiet --no-deps --target .venv/zoo timm==1.0.31; fi
	@PYTHONPATH=$$(pwd)/.venv/zoo $(BIN)/python -c "$$SCRIPT" nbs/checks/zoo.ipynb $(ARGS)

lab: setup  ## JupyterLab, at nbs/index.ipynb
	@$(BIN)/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/nbs/index.ipynb --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(ARGS)

site: setup  ## the notebooks and the library as web pages in _docs/html
	@rm -rf _docs && mkdir -p _docs/source && $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs _docs/source _docs/html $(ARGS) && \
	echo "open $$(pwd)/_docs/html/index.html"

define README_PY
import posixpath, re, sys
import nbformat
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import TagRemovePreprocessor
from kd_repro.core import atomic_write

tags = TagRemovePreprocessor(remove_cell_tags=["remove-cell", "not-in-readme"], remove_input_tags=["hide-input"], enabled=True)
notebook = nbformat.read(sys.argv[1], as_version=4)
notebook.metadata["language_info"] = {"name": "python"}  # nbdev_clean takes it away; it names the language of code blocks
page = MarkdownExporter(preprocessors=[tags]).from_notebook_node(notebook)[0]
parts = page.split("```")  # links of nbs/ are written as seen from the root, outside of code
parts[::2] = [re.sub(r"\]\((?!https?:|#)([^)]+)\)", lambda m: f"]({posixpath.normpath('nbs/' + m[1])})", text) for text in parts[::2]]
page = "```".join(parts)
page = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in page.strip().splitlines())) + "\n"
atomic_write(sys.argv[2], "<!-- Made from nbs/index.ipynb by `make readme`; change it there. -->\n" + page)
endef

readme: export SCRIPT = $(README_PY)
readme: setup  ## run nbs/index.ipynb and nbs/pages, and make README.md of the first; README=folder/README.md writes all there
	@out=$$(dirname $(README))/nbs && tmp=$$(mktemp -d) && trap 'rm -rf $$tmp' EXIT && mkdir -p $$out/pages && \
	for page in index pages/results pages/running pages/speed; do \
	  $(BIN)/python -m nbconvert --log-level ERROR --to notebook --execute --output-dir $$tmp nbs/$$page.ipynb </dev/null && \
	  made=$$tmp/$${page##*/}.ipynb && $(BIN)/nbdev_clean --fname $$made && \
	  { cmp -s $$made $$out/$$page.ipynb || cp $$made $$out/$$page.ipynb; } || exit 1; done && \
	$(BIN)/python -c "$$SCRIPT" $$tmp/index.ipynb $(README)

# A notebook of a table is committed as executed, at the best scale that has results. What has none is trained at smoke.
define PAPERS
import re, subprocess, sys
from pathlib import Path
import nbformat
from kd_repro.core import atomic_write
from kd_repro.report import shown_at
from kd_repro.runner import execute, notebook_of
from kd_repro.tables import TABLES

tables = [word for word in sys.argv[1:] if word != "--no-train"] or TABLES
shown = {table: shown_at(table) for table in tables}
if "--no-train" in sys.argv:
    shown = {table: how for table, how in shown.items() if how[0] != "smoke" or not TABLES[table].family}
for table, how in shown.items():
    path = notebook_of(table)
    notebook = nbformat.read(path, 4)
    cell, = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for name, word in zip(("scale", "precision"), how):
        cell.source = re.sub(rf'^{name} = "\w+"', f'{name} = "{word}"', cell.source, flags=re.M)
    atomic_write(path, nbformat.writes(notebook) + "\n")
    execute(path, path, {})
    subprocess.run([Path(sys.executable).with_name("nbdev_clean"), "--fname", path], check=True)
endef

papers: export SCRIPT = $(PAPERS)
papers: setup  ## run the notebooks of tables and figures where they lie; ARGS: names of tables, --no-train for those with results
	@OMP_NUM_THREADS=1 $(BIN)/python -c "$$SCRIPT" $(ARGS) </dev/null

export: setup  ## clean the notebooks and write kd_repro/ from them
	@$(BIN)/nbdev_clean && $(BIN)/nbdev_export

lock: setup  ## write requirements.lock from settings.ini (needs uv); ARGS=--upgrade takes newer versions
	@command -v uv >/dev/null || { echo "lock: uv is needed: pip install uv" >&2; exit 1; }
	@uv pip compile --quiet setup.py --extra dev --python-version 3.11 --universal --no-annotate --no-header --refresh-package kd_repro $(ARGS) -o requirements.lock </dev/null

clean:  ## remove .venv and the smoke results; data, caches, other results and notebooks stay
	@rm -rf .venv .setup.lock kd_repro.egg-info kd_repro/__pycache__ data/records/smoke figures/smoke
