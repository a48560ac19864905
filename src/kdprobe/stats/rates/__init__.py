"""Does one side show something in more of its answers than the other? Tests that are exact for rare events."""
