"""Studies that find something out, and write a page of docs/."""
