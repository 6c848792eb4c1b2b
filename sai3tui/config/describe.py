"""What can be made from the tables of the language, by the names of `sai3tui schema --format`."""

from __future__ import annotations

from sai3tui.config.describe_pages import compatibility_page, config_page
from sai3tui.config.describe_schema import schema_text

DOCUMENTS = {"schema": schema_text, "config": config_page, "compatibility": compatibility_page}
