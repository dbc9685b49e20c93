"""Data Docs: Great Expectations' own pages about a checked batch, readable without a network.

The pages that GX's site builder writes load Bootstrap, jQuery and more from six hosts, and their
index stays empty without them. So its renderers and templates make the pages here, inside a frame
and an index of our own that load nothing.
"""

import html
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from feature_repo.contract import TABLES
from validation.suites import suite

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: .5em 0; }
td, th { border: 1px solid #bbb; padding: .25em .7em; text-align: left; vertical-align: top; }
.fa-check-circle::before { content: "\\2714"; color: #187a33; }
.fa-exclamation-triangle::before { content: "\\26A0"; color: #b36b00; }
.fa-times::before, .fa-times-circle::before { content: "\\2718"; color: #b32020; }
.badge { border: 1px solid #bbb; border-radius: .3em; padding: 0 .3em; }
"""

_FRAME = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>{{ page_title }}</title><style>%s</style></head>
<body>
<p><a href="index.html">All tables</a></p>
{%% for section in sections %%}{%% set section_loop = loop %%}{%% include 'section.j2' %%}
{%% endfor %%}
</body>
</html>
"""


class Judged(Protocol):
    """What is asked of a checked batch."""

    quarantined: object
    repeated: Mapping[str, int]
    rows_in: Mapping[str, int]
    results: Mapping[str, object]


def write_docs(checked: Judged, folder: Path, as_of: datetime) -> Path:
    """Write Data Docs of a checked batch into a folder and return the path of its index.html.

    Every table has a page with its expectations, and one with its results if the batch held it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in TABLES.items():
        expected = _suite_page(suite(table, as_of))
        (folder / f"{name}_suite.html").write_text(expected, encoding="utf-8")
        results = folder / f"{name}.html"
        if name in checked.results:
            results.write_text(_results_page(name, checked.results[name]), encoding="utf-8")
        else:
            results.unlink(missing_ok=True)
    index = folder / "index.html"
    index.write_text(_index(checked, as_of), encoding="utf-8")
    return index


def _results_page(name: str, result) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    page = _page(ValidationResultsPageRenderer().render(result))
    # GX links to the suite's page where its own site builder would have put it.
    return page.replace(f"../../../../expectations/{name}.html", f"{name}_suite.html")


def _suite_page(expected) -> str:
    from great_expectations.render.renderer.page_renderer import ExpectationSuitePageRenderer

    return _page(ExpectationSuitePageRenderer().render(expected))


def _page(document) -> str:
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    view = DefaultJinjaPageView()
    own = DictLoader({"page.j2": _FRAME % _STYLE})
    view.env.loader = ChoiceLoader([own, view.env.loader])
    return view.render(document)


def _index(checked: Judged, as_of: datetime) -> str:
    rows = "\n".join(_index_row(checked, name) for name in TABLES)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>Clipwise Data Docs</title><style>{_STYLE}</style></head>
<body>
<h1>Data Docs</h1>
<p>The last batch, judged as of {html.escape(as_of.isoformat())}.</p>
<table>
<tr><th>Table</th><th>Rows in</th><th>Passed</th><th>Repeated</th><th>Quarantined</th>
<th>Expectations met</th><th>Suite</th></tr>
{rows}
</table>
</body>
</html>
"""


def _index_row(checked: Judged, name: str) -> str:
    link = f'<a href="{name}_suite.html">expectations</a>'
    if name not in checked.results:
        return f'<tr><td>{name}</td><td colspan="5">not in this batch</td><td>{link}</td></tr>'
    counted = checked.quarantined["table"].to_pylist().count(name)
    rows_in, repeated = checked.rows_in[name], checked.repeated[name]
    met = checked.results[name].statistics
    cells = (
        f'<a href="{name}.html">{name}</a>',
        *(f"{count:,}" for count in (rows_in, rows_in - repeated - counted, repeated, counted)),
        f"{met['successful_expectations']} of {met['evaluated_expectations']}",
        link,
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
