"""What results of comparisons give: the data of `--json`, and tables."""
