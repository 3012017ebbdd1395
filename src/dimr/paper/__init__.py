"""Tables, figures and where their numbers come from."""
