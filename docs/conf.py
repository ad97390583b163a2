"""Sphinx: README and docs as a site, `make docs`. Its source is the whole project, so links are the same in both."""

project = "Dogs vs. Cats"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/*.md", "data/README.md"]
exclude_patterns = [".venv", "site"]
myst_heading_anchors = 3  # so that links to headings work as they do on the repository's pages
html_theme = "alabaster"
html_theme_options = {"description": "Over-fitting, its cures, and what a network sees", "page_width": "1100px"}
html_sidebars = {"**": ["about.html", "navigation.html", "searchbox.html"]}
nitpicky = True  # a link to nowhere is an error
