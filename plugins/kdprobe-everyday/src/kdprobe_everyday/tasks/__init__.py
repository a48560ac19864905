"""The tasks as lm-eval reads them: YAML, and functions that generate the documents."""
