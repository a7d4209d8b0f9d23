"""Records rendered as Markdown and pictures; nothing is computed here."""
