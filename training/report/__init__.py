"""The reviewer's report of a version, as one HTML page.

`contents` defines its data, and `assembly` computes a part of it. The other modules turn the data
into HTML, CSS and SVG. Imports results of the other rooms, but no model or store.
"""
