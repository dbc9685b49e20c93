"""Arrow tables in the stored form, and the name of a view's table."""

import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.online_stores.sqlite import _table_id
from feast.repo_config import RepoConfig

from feature_repo.online.format.rows import OnlineRows, rows_of_table


class Bulk:
    """What both stores make of an Arrow batch; ``with_texts`` as their own form asks for it."""

    with_texts: bool

    def encoded(self, config: RepoConfig, view: FeatureView, table: pa.RecordBatch) -> OnlineRows:
        """The rows of an Arrow batch as they are stored, for ``write_table``; in any thread."""
        return rows_of_table(config, view, table, self.with_texts)

    def _encoded(self, config: RepoConfig, view: FeatureView, rows) -> OnlineRows:
        return rows if isinstance(rows, OnlineRows) else self.encoded(config, view, rows)


def table_of(config: RepoConfig, view: FeatureView) -> str:
    """The name of a view's table in SQLite."""
    return _table_id(config.project, view, config.registry.enable_online_feature_view_versioning)
