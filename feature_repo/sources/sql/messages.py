"""DuckDB's errors in one or two sentences: a fault, its place, and the correction."""

import re

_MOST = 400
"""Characters of DuckDB's own words; some of its messages list every function that exists."""

# A part of a message, and the advice for it. The first that is found counts.
_ADVICE = (
    (r"file system operations are disabled", "Only files in the folder can be read; put it there."),
    (
        r"read_xlsx|extension",
        "DuckDB runs without network and loads no extension; save a workbook's sheets as CSV.",
    ),
    (r"No files found", "Correct the name, or put the file into the folder."),
    (r"Table with name", "Define a view above the first statement that reads it."),
    (r"VARCHAR", "Values of CSV files are text: cast them, as in CAST(price AS DECIMAL(18, 4))."),
    (r"Could not convert|can't be cast|out of range", "Correct the value, or exclude the row."),
    (r"unterminated quote", "Close the quote in the file."),
    (
        r"Expected Number of Columns",
        "Correct the file; text with a separator in it needs quotes.",
    ),
    (
        r"not utf-8|Invalid unicode",
        "Save it as UTF-8, or use read_csv(..., encoding = 'latin-1', all_varchar = true, "
        "skip = 0).",
    ),
    (r"Out of Memory", "Read fewer columns or rows, or sort less."),
    (r"", "Correct the SQL."),
)


def line_of(error: Exception, first: int) -> int:
    """Returns the line in the file that an error names; ``first`` is the line of its statement."""
    found = re.search(r"^LINE (\d+):", str(error), re.MULTILINE)
    return first + int(found[1]) - 1 if found else first


def sentence(error: Exception) -> str:
    """Returns DuckDB's message in short, with the place in a CSV file, and the correction."""
    text = re.split(r"\n\s*LINE \d+:", str(error))[0]
    fault = _fault(text)
    advice = next(one for pattern, one in _ADVICE if re.search(pattern, fault, re.IGNORECASE))
    return f"{fault}. {advice}"


def _fault(text: str) -> str:
    row = re.search(r"CSV Error on Line: (\d+)", text)
    if row:
        file = re.search(r"file = (.+)", text)
        named = f"{file[1].strip()}, line {row[1]}" if file else f"the CSV file, line {row[1]}"
        faults = (
            r"Error when converting.*",
            r"Value with unterminated quote.*",
            r"Expected Number of Columns.*",
            r"Invalid unicode.*",
            r"Maximum line size.*",
        )
        found = next((hit[0] for one in faults if (hit := re.search(one, text))), "it is no CSV")
        return f"{named}: {found.rstrip('. ')}"
    lines = [line.strip() for line in text.strip().splitlines()[:2] if line.strip()]
    return " ".join(lines)[:_MOST].rstrip(".: ")
