"""The reviewer's report of a version, as one HTML page.

`contents` is the data it shows; the other modules turn it into HTML, CSS and SVG. Imports results
of the other rooms, and no model or store.
"""
