"""The frontier: files by `compress`, by simple rules and in stock types, on the same axes."""
