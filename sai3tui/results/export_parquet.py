"""A run's rows as a Parquet file, with pyarrow where that is installed."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

from sai3tui.errors import ResourceError
from sai3tui.results.caveats import Caveat
from sai3tui.results.export import Cell

CAVEATS_KEY = "sai3tui.caveats"
"""In the file's metadata: a JSON list of sentences, the gravest first."""


def as_parquet(table: Sequence[Mapping[str, Cell]], columns: Sequence[str], found: Sequence[Caveat]) -> bytes:
    """Raises ResourceError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ResourceError(
            "Parquet files need pyarrow, which is not installed", hint="install it: pip install 'sai3tui[parquet]'"
        ) from error
    arrays = {column: [row[column] for row in table] for column in columns}
    told = json.dumps([each.line for each in found], ensure_ascii=False)
    out = io.BytesIO()
    made = pyarrow.table(arrays).replace_schema_metadata({CAVEATS_KEY: told})
    pyarrow.parquet.write_table(made, out, compression="zstd")
    return out.getvalue()
