"""Sphinx: the notebooks and the library as a site. `make site` builds it from _docs/source, which is prepared here.

Notebooks are shown as they are committed, executed. Links that lead out of nbs/ take their file along.
"""
import os
import re
import shutil
from configparser import ConfigParser
from pathlib import Path

import nbformat
from fastcore.docments import docments

from kd_repro.tables import TABLES

root = Path(__file__).resolve().parent.parent
source = root / "_docs" / "source"
ini = ConfigParser()
ini.read(root / "settings.ini", encoding="utf-8")
ini = ini["DEFAULT"]

project, author, release = ini["lib_name"], ini["author"], ini["version"]
copyright = ini["copyright"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx-mathjax-offline"]
html_theme, html_title = "furo", project
html_static_path, html_css_files = [str(root / "docs" / "static")], ["site.css"]
html_show_sourcelink, pygments_dark_style, default_role = False, "github-dark", "code"
nb_execution_mode, nb_output_stderr, nb_merge_streams, nb_render_markdown_format = "off", "remove", True, "myst"
nb_code_prompt_show, nb_code_prompt_hide = "Show code", "Hide code"
myst_enable_extensions, myst_heading_anchors = ["dollarmath", "amsmath", "colon_fence"], 3
autodoc_member_order, autodoc_typehints, autodoc_preserve_defaults = "bysource", "signature", True
autodoc_default_options = dict(members=True, undoc_members=True)
exclude_patterns = ["**/.ipynb_checkpoints"]
SLIDER = "application/vnd.jupyter.widget-view+json"  # of a notebook that was saved in JupyterLab; it needs a kernel
LINK = re.compile(r"(\]\()(?!https?:|#|attachment:|mailto:)([^)\s]+)(?=\))")

AROUND = re.compile(r"^Previous: .*$|^Next: .*$", re.M)  # the site has its own
NUMBER = r"[-+−]?[\d.,]+(e[-+]?\d+)?( %)?(\s±\s[\d.]+)?(\s\([-+−\d.,\sto%]+\))?"
FILES = re.compile(r"(figures/\S+\s*)+")  # a list of what was saved
LAST = re.compile(r"(?<=\]\()\.\./\.\./figures/studies/[\w-]+\.md(?=\))")  # what a study wrote last


def link(text: str, folder: Path) -> str:
    "Relative links of a notebook in `folder`, as seen from the site, where nbs/ is the root."
    def moved(match: re.Match) -> str:
        target, _, part = match[2].partition("#")
        path = (folder / target).resolve()
        if path.is_relative_to(root / "nbs") or not path.is_relative_to(root):
            return match[0]
        inside = path.relative_to(root)
        if path.is_file():  # a folder, or not there: left as it is, so that Sphinx names the page
            (source / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, source / inside)
        here = source / folder.relative_to(root / "nbs")
        return f"{match[1]}{Path(os.path.relpath(source / inside, here)).as_posix()}{'#' + part if part else ''}"
    return LINK.sub(moved, text)


def plain(text: str, length: int = 300) -> str:
    "The last words of a cell, without marks: they say what its figure shows."
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    words = re.sub(r"^#+ .*$", "", text, flags=re.M).strip() or text.strip("# \n")  # else the heading
    text = " ".join(re.sub(r"[`*$\\{}]", "", words).split())
    return text if len(text) <= length else "… " + text[-length:].partition(" ")[2]


def printed(cell) -> str:
    "What a cell printed; empty if it shows anything else."
    outputs = cell.get("outputs", [])
    return "".join(o.text for o in outputs) if all(o.output_type == "stream" for o in outputs) else ""


def folded(cell, folder: Path) -> bool:
    "Whether the code waits for a click: imports everywhere, and where a page is read for its tables and figures."
    lines = cell.source.strip().splitlines()
    results = folder.name in ("papers", "studies") and (len(lines) > 4 or FILES.fullmatch(printed(cell)))
    imports = "import" in cell.source and all(re.match(r"from|import|\s|\)|#|$", line) for line in lines)
    return bool(results or imports)


def prepare(path: Path):
    "A notebook as a page: without nbdev's comments, with its figures described."
    notebook, folder, words = nbformat.read(path, 4), path.parent, ""
    first = notebook.cells[0]
    if tables := LAST.findall(first.source):
        first.source = LAST.sub("#last-result", first.source)
        shown = ["## Last result", *((folder / table).read_text(encoding="utf-8") for table in tables)]
        notebook.cells.insert(-1, nbformat.v4.new_markdown_cell("\n\n".join(shown)))  # before the limits
    for cell in notebook.cells:
        tags = cell.metadata.setdefault("tags", [])
        if cell.cell_type == "markdown":
            cell.source, words = link(AROUND.sub("", cell.source), folder), cell.source
            continue
        cell.source = re.sub(r"^#\|.*\n?", "", cell.source, flags=re.M)
        if "hide-input" in tags:  # Sphinx would fold it; the front page has results, not code
            tags[tags.index("hide-input")] = "remove-input"
        if not cell.source.strip():
            tags.append("remove-cell")
        elif folded(cell, folder):
            tags.append("hide-cell" if FILES.fullmatch(printed(cell)) else "hide-input")
        cell.metadata["mystnb"] = {"image": {"alt": plain(words)}}
        cell.outputs = [o for o in cell.outputs if SLIDER not in o.get("data", {})]
        for output in cell.get("outputs", []):
            if text := output.get("data", {}).get("text/markdown"):
                output["data"]["text/markdown"] = link(text, folder)
    notebook.metadata["language_info"] = {"name": "python"}
    if path.name == "index.ipynb":
        notebook.cells.append(nbformat.v4.new_markdown_cell(contents()))
    page = source / path.relative_to(root / "nbs")
    page.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, page)


def contents() -> str:
    "All pages, for the side bar."
    parts = {"Results": "pages/*.ipynb", "Tutorials": "tutorials/*.ipynb", "Tables and figures": "papers/*.ipynb",
             "Studies": "studies/*.ipynb", "Methods": "[34]*.ipynb", "Library": "", "Foundations": "[0-2]*.ipynb",
             "Evidence": "[56]*.ipynb", "Engine": "[7-9]*.ipynb", "Checks": "checks/*.ipynb"}
    rank = {name: k for k, name in enumerate(("your_own_networks", "wider_teacher", *TABLES))}
    order = lambda path: (rank.get(path.stem, len(rank)), path.stem)
    pages = {caption: [path.relative_to(root / "nbs").with_suffix("").as_posix()
                       for path in sorted((root / "nbs").glob(pattern or "none"), key=order)]
             for caption, pattern in parts.items()}
    pages["Library"] = sorted(f"api/{p.stem}" for p in (root / project).glob("[a-z]*.py"))
    pages["More"] = ["data/README"]
    return "\n\n".join("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```"])
                       for caption, names in pages.items())


def described(app, what, name, thing, options, lines):
    "Docstrings are plain text; parameters are described in the code, in a comment beside each (nbdev's docments)."
    def escaped(text): return re.sub(r"([*|])", r"\\\1", text)
    apart = lambda before, line: [""] if line.startswith(("Source:", "Raises:")) or (
        line.startswith("- ") and not before.startswith(("- ", " "))) else []
    lines[:] = [part for before, line in zip(["", *lines], lines) for part in [*apart(before, line), escaped(line)]]
    if what not in ("function", "method", "class") or "Arguments:" in lines:  # they are in the text
        return
    try: found = docments(thing.__init__ if what == "class" and "__init__" in vars(thing) else thing)
    except (TypeError, ValueError, OSError, AttributeError): return
    said = {key: " ".join(text.split()) for key, text in found.items() if text and key != "self"}
    if said:
        field = lambda key: "returns" if key == "return" else f"param {key}"
        lines += ["", *(f":{field(key)}: {escaped(text)}" for key, text in said.items()), ""]


def bare(match: re.Match) -> str:
    "A table of pandas without its row numbers."
    numbers = re.findall(r"<tr>\s*<th>(\d+)</th>", match[0])
    rows = re.findall(r"<tr>\s*<th>", match[0].partition("<tbody>")[2])
    if numbers != [str(k) for k in range(len(rows))]:
        return match[0]
    return re.sub(r"(<tr[^>]*>\s*)<th>[^<]*</th>", r"\1", match[0])


def tidy(app, page, template, context, doctree):
    "Tables of a page: no row numbers, a dash where there is no number, and numbers that stay on one line."
    body = re.sub(r'<table border="1" class="dataframe">.*?</table>', bare, context.get("body", ""), flags=re.S)
    body = re.sub(r"<td>(NaN|None|nan)</td>", "<td>–</td>", body)
    if page.startswith("_modules/"):  # not the title of the page about the module
        context["title"] = f"Source of {context['title']}"
    context["body"] = re.sub(rf"<td([^>]*)>(<p>)?(?={NUMBER}(</p>)?</td>)", r'<td\1 data-number="">\2', body)


def setup(app):
    app.connect("autodoc-process-docstring", described)
    app.connect("html-page-context", tidy)


shutil.rmtree(source, ignore_errors=True)
for notebook in sorted((root / "nbs").rglob("*.ipynb")):
    if ".ipynb_checkpoints" not in notebook.parts:
        prepare(notebook)
(source / "api").mkdir()
for module in (root / project).glob("[a-z]*.py"):
    name = f"{project}.{module.stem}"
    text = f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    (source / "api" / f"{module.stem}.md").write_text(text, encoding="utf-8")
