"""What a search leaves: tables, records, baselines, and the folder of a run."""
