"""DVC: finished runs and tables as versions, and back."""
