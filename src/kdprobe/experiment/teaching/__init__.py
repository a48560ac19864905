"""What each strategy's teacher read and wrote, for the audit of what students show of it."""
