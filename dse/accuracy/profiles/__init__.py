"""Sensitivity profiles: the file, the record, and their summary."""
