"""What chat templates see and may use: they are programs, and strangers write them."""
