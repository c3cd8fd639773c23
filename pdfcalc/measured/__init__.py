"""Files of measured PDFs, and crystals refined against them."""
