"""A run's rows as a Parquet file, with pyarrow where that is installed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from sai3tui.errors import ResourceError
from sai3tui.results.export import Cell


def as_parquet(table: Sequence[Mapping[str, Cell]], columns: Sequence[str]) -> bytes:
    """Raises ResourceError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ResourceError(
            "Parquet files need pyarrow, which is not installed", hint="install it: pip install 'sai3tui[parquet]'"
        ) from error
    arrays = {column: [row[column] for row in table] for column in columns}
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(arrays), out, compression="zstd")
    return out.getvalue()
