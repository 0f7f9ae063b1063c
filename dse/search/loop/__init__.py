"""The loop of a search: Optuna proposes hardware, workers solve, the archive keeps."""
