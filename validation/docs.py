"""Data Docs: Great Expectations' pages on a checked batch, readable without a network.

Pages of GX's site builder load Bootstrap, jQuery and more from six hosts, and without them their
index is empty. So GX's renderers and templates fill a page and an index of ours, which load
nothing.
"""

import html
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.contract import TABLES
from validation.check import Checked
from validation.suites import suite

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

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


def write_docs(checked: Checked, folder: Path, as_of: datetime) -> Path:
    """Writes Data Docs of a checked batch into a folder and returns the path of index.html.

    Each table has a page with its expectations, and a page with its results if it is in the batch.
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


def _results_page(name: str, result: Any) -> str:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    page = _page(ValidationResultsPageRenderer().render(result))
    # GX links to the place of the suite's page in a site by its own builder.
    return page.replace(f"../../../../expectations/{name}.html", f"{name}_suite.html")


def _suite_page(expected: "ExpectationSuite") -> str:
    from great_expectations.render.renderer.page_renderer import ExpectationSuitePageRenderer

    # GX annotates neither its renderers nor its views.
    renderer: Any = ExpectationSuitePageRenderer()
    return _page(renderer.render(expected))


def _page(document: Any) -> str:
    from great_expectations.render.view.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    view: Any = DefaultJinjaPageView()
    own = DictLoader({"page.j2": _FRAME % _STYLE})
    theirs = [] if view.env.loader is None else [view.env.loader]
    view.env.loader = ChoiceLoader([own, *theirs])
    return view.render(document)


def _index(checked: Checked, as_of: datetime) -> str:
    rows = "\n".join(_index_row(checked, name) for name in TABLES)
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="UTF-8"><title>Clipwise Data Docs</title><style>{_STYLE}</style></head>
<body>
<h1>Data Docs</h1>
<p>The last batch, checked as of {html.escape(as_of.isoformat())}.</p>
<table>
<tr><th>Table</th><th>Rows in</th><th>Passed</th><th>Repeated</th><th>Quarantined</th>
<th>Expectations met</th><th>Suite</th></tr>
{rows}
</table>
</body>
</html>
"""


def _index_row(checked: Checked, name: str) -> str:
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
