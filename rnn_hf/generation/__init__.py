"""The recurrent state as an object of its own, and text generated or read in constant memory."""
