"""Reports: what finished arms answer, as tables, pages and figures."""
