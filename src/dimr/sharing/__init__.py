"""DVC: finished runs and tables to versions, and back."""
