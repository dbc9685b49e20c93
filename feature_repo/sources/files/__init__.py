"""The source ``files``: a folder of CSV or Parquet files in the contract, with a ``mapping.toml``.

``source`` reads the folder: its files by ``folder``, CSV by ``csv_format`` and ``csv_files``, the
differences that it states by ``mapping``, and the columns by ``columns`` and ``column_names``.
Imports the contract, the sources and ``spellings``.
"""
