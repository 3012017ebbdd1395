"""The digits study: its numbers and its page."""
