"""What the page's script gets to show: plain data, in which every number is a record's and no text is markup."""
