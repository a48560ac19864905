"""The data that the page's script shows: every number in it comes from a record, and no text is markup."""
