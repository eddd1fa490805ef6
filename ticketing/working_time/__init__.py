"""Working time: days, hours, zones and budgets, as countries and contracts set them."""
