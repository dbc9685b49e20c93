"""Retrieval jobs: queries that run when their result is read, and results written to files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow as pa
from feast.data_format import ParquetFormat
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.saved_dataset import SavedDatasetStorage

from feature_repo.feast_internals import write_data_source
from feature_repo.offline.errors import PointInTimeError


class PointInTimeJob(RetrievalJob):
    """A query that runs when its result is read; ``parts`` yields the result part by part."""

    def __init__(
        self,
        parts: Callable[[], Iterator[pa.Table]],
        repo_path: str,
        on_demand: Sequence[OnDemandFeatureView] = (),
        full_feature_names: bool = False,
        metadata: Callable[[], RetrievalMetadata] | None = None,
    ):
        super().__init__()
        self._parts = parts
        self._repo_path = repo_path
        self._on_demand = list(on_demand)
        self._full_feature_names = full_feature_names
        self._metadata = metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return pa.concat_tables(list(self._parts()))

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """True if the features have their view's name as a prefix."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """Features, keys, and the span of the entity rows; None for a pull."""
        return self._metadata() if self._metadata else None

    def to_parquet(self, path: str | Path) -> None:
        """Writes the result to a new Parquet file, part by part, so that it need not fit memory.

        Raises PointInTimeError if the path exists.
        """
        target = Path(path)
        if target.exists():
            raise PointInTimeError(f"{target} exists already; name another file.")
        self._write(target)

    def persist(
        self,
        storage: SavedDatasetStorage,
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Writes the result to a saved data set's storage, as Feast's DuckDB store does.

        Raises SavedDatasetLocationAlreadyExists if the file exists and may not be overwritten.
        """
        source = cast(FileSource, storage.to_data_source())
        target = Path(FileSource.get_uri_for_file_path(self._repo_path, source.path))
        is_single_file = target.suffix == ".parquet" and not target.is_dir()
        if not is_single_file or not isinstance(source.file_format, ParquetFormat | None):
            import ibis

            table = ibis.memtable(self.to_arrow())
            write_data_source(table, source, self._repo_path, "overwrite", allow_overwrite)
            return
        if target.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=source.path)
        self._write(target)

    def _write(self, target: Path) -> None:
        """Writes a draft and renames it, so that the file is complete once it exists."""
        from pyarrow.parquet import ParquetWriter

        draft = target.with_name(f".{target.name}.draft")
        # On-demand features are computed from the whole result at once.
        parts = iter([self.to_arrow()]) if self._on_demand else self._parts()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            first = next(parts)
            dictionary = _dictionary_columns(first.schema)
            with ParquetWriter(
                draft, first.schema, compression="zstd", use_dictionary=dictionary
            ) as writer:
                writer.write_table(first)
                del first
                for part in parts:
                    writer.write_table(part)
                    # Free this part before the next one is computed.
                    del part
            draft.rename(target)
        finally:
            draft.unlink(missing_ok=True)


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Returns the columns that may repeat values.

    For floats the search for repeats takes longer than the write.
    """
    return [field.name for field in schema if not _holds_floats(field.type)]


def _holds_floats(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or (pa.types.is_list(kind) and _holds_floats(kind.value_type))
