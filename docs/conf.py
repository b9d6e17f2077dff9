"""The site: Sphinx, MyST and furo; tutorials that run, and reference pages that the program writes of itself."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import weft

project = "weft"
author = "The weft developers"
copyright = author
version = release = weft.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "generated",
    "mathml",
    "percent",
]
exclude_patterns = ["_build", "_ext", "conf.py", "search.md"]  # a page "search" is Sphinx' own: searching.md has it

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

default_role = "literal"  # docstrings write `code`
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "weft"
html_static_path = ["_static"]
html_css_files = ["weft.css"]
html_math_renderer = "mathml"
copybutton_exclude = ".output, .linenos"
copybutton_selector = "div:not(.output) > div.highlight pre"
