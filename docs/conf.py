"""How the documentation is built: Sphinx reads Markdown (MyST), and the reference from docstrings of what is installed.

pip install '.[docs]' && sphinx-build -W -n docs docs/_build
"""

from __future__ import annotations

from quorate import __version__

project = "Quorate"
copyright = "the Quorate contributors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"Quorate {release}"
html_show_sphinx = False

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signatures say them; compiled modules have them in their stubs
python_use_unqualified_type_names = True
# Types that have no page here: of the standard library (whose pages would need the network), and type variables.
# The page on raft is written by hand, in tables, so that its names are no targets.
nitpick_ignore_regex = [("py:.*", r"(?!quorate\.).*"), ("py:.*", r"quorate\.raft\..*")]
