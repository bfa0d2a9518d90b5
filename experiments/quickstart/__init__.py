"""The quickstart: its run file, what its search hands over, and README's parts."""
