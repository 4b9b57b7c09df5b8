"""The demo: what is submitted (plan), how it runs (run), and what it shows (report)."""
