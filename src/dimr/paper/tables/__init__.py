"""Tables, from their definitions to CSV, Markdown and LaTeX."""
