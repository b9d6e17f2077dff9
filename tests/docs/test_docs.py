"""The documentation is true: the site builds without a warning, commands and links exist, the tutorials run."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
PARTS = {DOCS / "search.md"}
"""Parts of other pages."""
GUIDES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "llms.txt", "CHANGELOG.md")]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

sys.path.insert(0, str(DOCS / "_ext"))
import generated  # noqa: E402
import percent  # noqa: E402


def run(path: Path, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, path], cwd=place, env=ENVIRONMENT, capture_output=True, text=True)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` builds it, but that tutorials are not run."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(place)]
    done = subprocess.run(command, env={**ENVIRONMENT, "WEFT_DOCS_RUN": "none"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return place


def test_the_site_has_every_page_and_every_page_is_found_from_the_first(site):
    begin, seen = [site / "index.html"], set()
    while begin:
        page = begin.pop()
        if page in seen:
            continue
        seen.add(page)
        for link in re.findall(r'href="([^"#:]+\.html)', page.read_text()):
            begin += [(page.parent / link).resolve()]
    made = {site / page.relative_to(DOCS).with_suffix(".html") for page in (*PAGES, *TUTORIALS) if page not in PARTS}
    assert made <= seen
    assert "KANELÉ" in (site / "searching.html").read_text()  # from the part "search", whose page is Sphinx' own


def test_a_page_that_no_index_names_is_a_guide(tmp_path):
    for name in ("index", "known", "new", "part/index", "part/inside", "loose/one", "_ext/note"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.md").write_text("# A page\n")
    (tmp_path / "index.md").write_text("```{toctree}\nknown\n```\nnew is a word in a sentence\n")
    assert generated.others(tmp_path) == ["loose/one", "new", "part/index"]


def test_formulas_are_drawn_without_a_network(site):
    page = (site / "explanation" / "pruning.html").read_text()
    assert page.count("<math") > 30
    assert "merror" not in page
    for page in site.rglob("*.html"):
        assert not re.search(r'<(script|link)[^>]+(src|href)="https?://(?!\S*weft)', page.read_text()), page


def test_the_reference_has_every_command_and_every_key(site):
    from weft.config import schema

    commands = re.sub(r"<[^>]+>", "", (site / "reference" / "cli.html").read_text())
    done = subprocess.run(["weft", "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  ([a-z][a-z-]+)  ", done.stdout, re.M)
    assert len(listed) > 15
    assert [name for name in listed if f"weft {name}" not in commands] == []
    keys = (site / "reference" / "experiment.html").read_text()
    words = {key for section in schema()["$defs"].values() for key in section.get("properties", {})}
    assert [key for key in words if f">{key}<" not in keys] == []


def test_the_reference_has_every_public_name(site):
    import weft
    from weft import layers

    page = (site / "reference" / "api.html").read_text()
    public = [f"weft.{name}" for name in weft.__all__ if callable(getattr(weft, name))]
    assert len(public) >= 8
    assert [name for name in public if f'id="{name}"' not in page] == []
    assert [name for name in layers.__all__ if f'id="weft.layers.{name}"' not in page] == []


@pytest.mark.parametrize("page", [*PAGES, *GUIDES], ids=name_of)
def test_commands_in_the_text_exist_with_their_options(page):
    from tests.docs.commands import wrong

    assert wrong(page.read_text()) == []


def test_a_command_that_does_not_exist_is_found():
    from tests.docs.commands import wrong

    assert wrong("```sh\nweft run a.yaml --sett x=1\nweft serch a.yaml\nweft run  # fine\n```") == [
        "weft run a.yaml --sett x=1: no option --sett",
        "weft serch a.yaml: no command serch",
    ]


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_links_between_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_experiments_in_the_text_are_valid_as_far_as_they_go(page):
    """A block of YAML that is a whole experiment is loaded; of others the sections are those of experiments."""
    import yaml

    from weft.config import Experiment, loads

    for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S):
        data = yaml.safe_load(text)
        if isinstance(data, dict) and "version" in data and "space" in data:
            loads(text)
        elif isinstance(data, dict) and page.parent.name in ("howto", "tutorials"):
            assert set(data) <= set(Experiment.model_fields)


def test_citation_and_changelog_are_of_this_version():
    import yaml

    import weft

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == weft.__version__ and cited["license"] == "Apache-2.0"
    log = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[({re.escape(weft.__version__)}|Unreleased)\]", log, re.M)
    assert set(re.findall(r"^### (\w+)", log, re.M)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }


def test_llms_txt_has_the_form_that_llmstxt_org_asks_for():
    lines = (ROOT / "llms.txt").read_text().splitlines()
    assert lines[0] == "# weft" and lines[2].startswith("> ")
    under = [line for line in lines[lines.index("## Start") :] if line]
    assert all(re.match(r"## |- \[[^]]+\]\([^)]+\)", line) for line in under)


@pytest.mark.parametrize("path", TUTORIALS, ids=name_of)
def test_a_tutorial_is_a_percent_file_that_claims_something(path):
    kinds = [kind for kind, _ in percent.cells(path.read_text())]
    assert kinds[0] == "markdown" and kinds.count("code") > 3
    tree = ast.parse(path.read_text())
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(tree)) >= 3
    asked = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert asked <= {"pathlib", "weft", "torch", "weft_extras"}


def test_a_page_shows_what_a_tutorial_printed_and_drew(tmp_path):
    text = (
        "# %% [markdown]\n# # Title\n\n# %%\nimport subprocess\n"
        "print(6 * 7)\nsubprocess.run(['echo', 'child'])\n"
        "# %%\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\n"
    )
    path = tmp_path / "story.py"
    path.write_text(text)
    shown = percent.outputs(path)
    assert [one["text"] for one in shown] == ["42\nchild\n", ""]
    assert shown[1]["svg"].startswith("<svg")
    page = percent.page(text, shown, "story.py")
    assert page.index("# Title") < page.index("print(6 * 7)") < page.index("42\nchild") < page.index("<svg")


def test_the_table_of_pruning_says_what_failed_and_what_did_not_run(tmp_path):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import pruning_support

    (tmp_path / "one.xml").write_text(
        """<testsuites><testsuite>
        <testcase classname="test_conformance" name="test_masks[dst-dense]"/>
        <testcase classname="test_conformance" name="test_gradients[dst-dense]"><failure message="no"/></testcase>
        <testcase classname="test_conformance" name="test_masks[pdp, N:M-dense]"/>
        <testcase classname="test_conformance" name="test_skipped[pdp, N:M-dense]"><skipped/></testcase>
        <testcase name="test_what_cannot_be_pruned_is_refused_before_training[pdp, N:M-depthwise]"
            classname="test_conformance"/>
        <testcase classname="tests.run.test_run" name="test_other[dst-dense]"><failure message="no"/></testcase>
        <testcase classname="test_conformance" name="test_every_method_is_here"/>
        </testsuite></testsuites>"""
    )
    cells = pruning_support.read(tmp_path / "one.xml")
    assert pruning_support.table({"jax": cells, "torch": cells}) == (
        "On jax and on torch:\n\n"
        "| method | dense | depthwise |\n| --- | --- | --- |\n"
        "| dst | **1 of 2 fail** | not run |\n| pdp, N:M | 1 passed | refused |"
    )


def test_a_tutorial_that_fails_fails_the_build(tmp_path):
    from sphinx.errors import ExtensionError

    path = tmp_path / "story.py"
    path.write_text("# %% [markdown]\n# # Title\n\n# %%\nprint('so far')\nassert 1 > 2, 'one is not more'\n")
    with pytest.raises(ExtensionError, match=r"story.py fails:\n[\s\S]*so far\n[\s\S]*line 6[\s\S]*one is not more"):
        percent.outputs(path)


def test_the_tutorial_on_extending_runs(tmp_path):
    done = run(DOCS / "tutorials" / "extend.py", tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "exact" in json.loads((tmp_path / "model.verification.json").read_text())["status"]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in TUTORIALS if path.stem != "extend"], ids=name_of)
def test_every_other_tutorial_runs(path, tmp_path):
    done = run(path, tmp_path)
    assert done.returncode == 0, done.stderr[-4000:]
