"""What a fit is given: recipe, processes, memory."""
