"""What this project measures about itself, a package each, run by `python -m experiments.<name>`."""
