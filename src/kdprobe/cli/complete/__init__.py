"""What a shell offers when the user presses the tab key; nothing here imports torch."""
