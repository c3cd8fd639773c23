"""Reports, figures, tables, and models for use elsewhere."""
