"""Raw recordings become training clips: measured, split, filtered, annotated, balanced, written."""
