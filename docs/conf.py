"""Settings of the pages: Markdown here, the reference from docstrings, a gallery from ``examples/gallery``. See ``make docs``.

``make docs ARGS="-t online"`` links names of Python, NumPy, PyTorch and JAX to their documentation, for which their inventories are
fetched; without it nothing is. ``ARGS="-D plot_gallery=0"`` builds the gallery without running it.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.util.tags import Tags

    tags: Tags  # Sphinx puts it here

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "extensions"), str(ROOT / "examples")]

project = "cvxpylayers"
version = release = metadata.version("cvxpylayers")
copyright = "the authors of cvxpylayers, Apache-2.0"  # noqa: A001  (the name that Sphinx reads)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "plain_docstrings",
    "llms",
]
exclude_patterns = ["extensions"]
suppress_warnings = ["ref.python"]  # CvxpyLayer is one name in four front ends

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

add_module_names = False  # the page says which module
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Array", "ArrayLike", "Float64", "NDArray")}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
autodoc_mock_imports = ["ray"]
copybutton_prompt_text = "$ "

if tags.has("online"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "jax": ("https://docs.jax.dev/en/latest", None),
    }

GALLERY = ROOT / "examples" / "gallery"
for page in (DOCS / "gallery").glob("plot_*.rst"):  # of an example that is gone
    if not (GALLERY / page.name).with_suffix(".py").exists():
        page.unlink()
sphinx_gallery_conf = {
    "examples_dirs": str(GALLERY),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_\w+\.py$",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
}

pygments_style, pygments_dark_style = "friendly", "github-dark"
html_theme = "furo"
html_title = "cvxpylayers"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = True
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
