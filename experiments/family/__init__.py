"""The related systems as presets: what they claim, and what came out here."""
