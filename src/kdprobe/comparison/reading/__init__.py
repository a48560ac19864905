"""Files of answers, as rows: what compresses and encodes them, and how they are laid out."""
