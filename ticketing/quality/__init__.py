"""How well the desk works, and what it learns: known errors, replies in ready words, reviews of what was written."""
