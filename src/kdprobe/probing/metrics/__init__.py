"""The built-in head metrics; formulas are in docs/explanation/heads.md."""
